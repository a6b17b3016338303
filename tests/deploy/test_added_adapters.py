"""Multi-Adapter Llama3 with one line more: the project as Compose reads it, and the router as HAProxy runs it."""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ops_pipelines.errors import DeclarationError, UsageError
from ops_pipelines.policy.compose_project import pinned_at
from ops_pipelines.settings import load_settings
from ops_pipelines.stack.loader import load_stack
from ops_pipelines.wiring.compose_site import ComposeSite
from ops_pipelines.wiring.site import Site, linked
from tests.deploy.projects import DEPLOY, environ_of
from tests.parts import require
from tests.waiting import free_ports, until

CFG = "/usr/local/etc/haproxy/haproxy.cfg"
NAMES = ("base", "chatbot-1", "chatbot-2", "chatbot-3", "code-1", "code-2", "summarization", "legal")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the stack in which a third card has room."""
    shutil.copytree(DEPLOY / "multi-adapter-llama3", tmp_path / "stack")
    text = (tmp_path / "stack" / "stack.yaml").read_text()
    (tmp_path / "stack" / "stack.yaml").write_text(
        text.replace("cards: [20G, 20G]", "cards: [20G, 20G, 20G]")
    )
    plugin = tmp_path / "docker" / "cli-plugins" / "docker-compose"
    plugin.parent.mkdir(parents=True)
    plugin.symlink_to(require("compose").path)
    return tmp_path


def with_line(folder: Path, line: str) -> ComposeSite:
    """The stack with one line more."""
    file = folder / "stack" / "stack.yaml"
    file.write_text(file.read_text().replace("  models: {}\n", f"  models:\n    {line}\n", 1))
    environ = {
        **environ_of(file), "PATH": os.environ["PATH"], "HOME": str(folder),
        "OPS_HOME": str(folder / "home"), "DOCKER_CONFIG": str(folder / "docker"),
    }  # fmt: skip
    loaded = linked(load_stack(file, profile="compose", environ=environ))
    return ComposeSite(Site(load_settings(environ, cwd=folder), loaded))


def test_compose_takes_the_project(folder: Path) -> None:
    here = with_line(folder, "legal: ollama:legal-llama3:8b")
    project = here.project
    read: dict[str, Any] = here.tool(project).resolved(here.place(project))
    legal, like = read["services"]["legal"], read["services"]["summarization"]
    assert [(one["published"], one["target"]) for one in legal["ports"]] == [("11461", 11461)]
    assert legal["environment"] == {**like["environment"], "OLLAMA_HOST": "0.0.0.0:11461"}
    assert legal["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"] == ["2"]
    assert legal["depends_on"]["base"]["condition"] == "service_healthy"
    [mount] = legal["volumes"]
    assert (mount["source"], mount["target"]) == ("legal-models", "/root/.ollama")
    assert "legal-models" in read["volumes"]
    changed = {"ports", "environment", "deploy", "volumes"}
    assert {key for key in like if like[key] != legal[key]} == changed, "all else is as with the other"
    mounted = next(one["source"] for one in read["services"]["router"]["volumes"] if one["target"] == CFG)
    assert "server legal legal:11461" in Path(mounted).read_text()


def test_without_a_line_the_project_is_that_of_the_files(folder: Path) -> None:
    here = with_line(folder, "{}")
    assert "legal" not in here.project.services
    assert (
        pinned_at(here.project, "router", CFG) == (folder / "stack" / "haproxy" / "haproxy.cfg").read_text()
    )


def test_the_cards_of_the_guide_are_full(folder: Path) -> None:
    file = folder / "stack" / "stack.yaml"
    file.write_text(file.read_text().replace("[20G, 20G, 20G]", "[20G, 20G]"))
    with pytest.raises(DeclarationError, match="8 GB for legal, and no card has room") as told:
        with_line(folder, "legal: ollama:legal-llama3:8b")
    assert "chatbot-1 4 GB, chatbot-2 4 GB" in str(told.value)
    assert re.search(r"stack\.yaml:\d+:\d+: adapters\.models\.legal", str(told.value))


def test_a_router_that_would_send_nobody_there_is_refused(folder: Path) -> None:
    cfg = folder / "stack" / "haproxy" / "haproxy.cfg"
    cfg.write_text(cfg.read_text().replace("%[path,field(2,/)]", "summarization"))
    with pytest.raises(UsageError, match="nobody would be sent to an added adapter"):
        _ = with_line(folder, "legal: ollama:legal-llama3:8b").project


class _Model(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        _, port = self.connection.getsockname()
        body = json.dumps({"port": port, "path": self.path}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def servers() -> Iterator[dict[str, int]]:
    """A server that says what it was asked, for each name."""
    started = {name: http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Model) for name in NAMES}
    for one in started.values():
        threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield {name: one.server_port for name, one in started.items()}
    for one in started.values():
        one.shutdown()
        one.server_close()


def test_the_router_leads_each_path_to_its_adapter(folder: Path, servers: dict[str, int]) -> None:
    made = with_line(folder, "legal: ollama:legal-llama3:8b").project
    text = pinned_at(made, "router", CFG) or ""
    front, stats = free_ports(2)
    for name, port in servers.items():
        text = re.sub(rf"server {name} {name}:\d+", f"server {name} 127.0.0.1:{port}", text)
    text = text.replace("bind :8080", f"bind 127.0.0.1:{front}").replace(
        "bind :8404", f"bind 127.0.0.1:{stats}"
    )
    file = folder / "haproxy.cfg"
    file.write_text(text)
    command = [str(require("haproxy").path), "-db", "-f", str(file)]
    checked = subprocess.run([*command, "-c"], capture_output=True, text=True, timeout=30, check=False)
    assert checked.returncode == 0, checked.stderr
    running = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with httpx.Client(timeout=20) as client:
            url = f"http://127.0.0.1:{front}"
            until(lambda: _answers(client, f"http://127.0.0.1:{stats}/ready"), what="HAProxy", seconds=20)
            said = {
                path: client.get(f"{url}/{path}/api/tags?x=1").json()
                for path in ("legal", "base", "summarization")
            }
            assert said == {path: {"port": servers[path], "path": "/api/tags?x=1"} for path in said}
            assert client.get(f"{url}/legal").json() == {"port": servers["legal"], "path": "/"}
            kept = {client.get(f"{url}/chatbot/api/tags").json()["port"] for _ in range(6)}
            assert len(kept) == 1, "one client keeps to one replica"
            for path in ("", "legally", "legal2/api/tags", "paths", "stats", "%00"):
                assert client.get(f"{url}/{path}").status_code in (400, 404), path
            assert client.get(f"{url}/legally").status_code == 404
    finally:
        running.terminate()
        running.wait(10)


def _answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).status_code == 200
    except httpx.HTTPError:
        return False
