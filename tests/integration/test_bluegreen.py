"""Traffic moved to a new version behind a real HAProxy and a real nginx, under load, on a real Docker Engine."""

from __future__ import annotations

import http.client
import http.server
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
import yaml

from ops_pipelines.errors import DeployFailed
from ops_pipelines.settings import load_settings
from ops_pipelines.wiring import deployments, revisions
from ops_pipelines.wiring.site import Site, load_fleet
from tests.declaring import KEYS, backup_in, keys_of
from tests.defs.kit import failure_of, run_things
from tests.integration import kill_bluegreen
from tests.parts import require
from tests.servers.docker import IMAGE, Docker
from tests.servers.seaweed import Seaweed
from tests.waiting import free_ports, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
HAPROXY, NGINX = "ops-test/haproxy:1", "ops-test/nginx:1"
SERVE = (
    "mkdir -p /w/cgi-bin && echo {word} > /w/index.html && "
    "printf '#!/bin/sh\\nprintf \"{status}Content-Type: text/plain\\\\r\\\\n\\\\r\\\\n{word}\"\\n' > /w/cgi-bin/ask && "
    "chmod +x /w/cgi-bin/ask && exec httpd -f -p 80 -h /w"
)
ASK = {"test": ["CMD", "wget", "-qO-", "http://127.0.0.1/"], "interval": "0.3s", "retries": 3}
HAPROXY_CFG = """
global
    log stdout format raw local0 info
    maxconn 500
defaults
    mode http
    option redispatch
    option idle-close-on-response
    retries 3
    timeout connect 2s
    timeout client 10s
    timeout server 10s
resolvers docker
    nameserver dns 127.0.0.11:53
    hold valid 1s
frontend door
    bind :8080
    default_backend app
backend app
    option httpchk GET /
    default-server check inter 1s
    server-template app 4 app:80 resolvers docker init-addr libc,none
frontend stats
    bind :8404
    http-request use-service prometheus-exporter if { path /metrics }
"""
NGINX_CFG = """
pid /tmp/nginx.pid;
events {}
http {
    access_log /dev/stdout;
    client_body_temp_path /tmp/a; proxy_temp_path /tmp/b; fastcgi_temp_path /tmp/c; uwsgi_temp_path /tmp/d;
    scgi_temp_path /tmp/e;
    upstream app { server app:80; }
    server { listen 8080; location / { proxy_pass http://app; } }
}
"""


class Load:
    """Requests one after another through a proxy, on connections that stay open where `keep`, until the end."""

    def __init__(self, port: int, *, keep: bool) -> None:
        self.port, self.keep = port, keep
        self.good = 0
        self.bad: list[str] = []
        self.versions: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(20)

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {} if self.keep else {"Connection": "close"}
        while not self._stop.is_set():
            try:
                connection.request("GET", "/cgi-bin/ask", headers=headers)
                answer = connection.getresponse()
                said = answer.read().decode().strip()
            except OSError as error:
                self.bad.append(repr(error))
                connection.close()
                continue
            except http.client.HTTPException as error:
                self.bad.append(repr(error))
                connection.close()
                continue
            if answer.status != 200:
                self.bad.append(str(answer.status))
                continue
            self.good += 1
            if not self.versions or self.versions[-1] != said:
                self.versions.append(said)


@dataclass
class Stand:
    """An app behind a proxy, with a bucket of a real store."""

    docker: Docker
    folder: Path
    environ: dict[str, str]
    door: int
    stats: int
    project: str
    proxy: dict[str, Any]
    rule: dict[str, Any]
    word: str = "one"
    status: str = ""
    app: dict[str, Any] = field(default_factory=dict)

    def write(self) -> Site:
        """The stack as it is declared now."""
        app = {
            "image": IMAGE,
            "init": True,
            "command": ["sh", "-c", SERVE.format(word=self.word, status=self.status)],
            "deploy": {"replicas": 2},
            "healthcheck": ASK,
            **self.app,
        }
        (self.folder / "compose.yaml").write_text(
            yaml.safe_dump({"services": {"app": app, "door": self.proxy}})
        )
        declared = yaml.safe_load((self.folder / "stack.yaml").read_text())
        declared["components"]["app"]["blue_green"] = self.rule
        (self.folder / "stack.yaml").write_text(yaml.safe_dump(declared))
        return load_fleet(load_settings(self.environ, cwd=self.folder)).site("web")

    def deploy(self, **more: Any) -> deployments.DeployResult:
        return deployments.deploy(self.write(), by="test", **more)

    def plan_moves(self, **more: Any) -> bool:
        """Whether a deploy would start a version beside."""
        steps = deployments.plan(self.write(), **more).steps
        return any(step.subject == "component/app-green" for step in steps)

    @property
    def page(self) -> str:
        """What the app says through the proxy."""
        return httpx.get(f"http://127.0.0.1:{self.door}/cgi-bin/ask", timeout=5).text.strip()

    @property
    def services(self) -> set[str]:
        """Services that have containers."""
        return {one.service for one in self.docker.engine.containers(self.project)}

    @property
    def started(self) -> dict[str, str]:
        return {one.name: one.started for one in self.docker.engine.containers(self.project)}


@pytest.fixture
def stand(
    request: pytest.FixtureRequest, docker: Docker, seaweed: Seaweed, bucket: str, tmp_path: Path
) -> Iterator[Stand]:
    kind = getattr(request, "param", "haproxy")
    require(kind)
    docker.image(HAPROXY, 'CMD ["haproxy"]', programs=[require("haproxy").path])
    docker.image(NGINX, 'CMD ["nginx"]', programs=[require("nginx").path])
    door, stats = free_ports(2)
    project = f"bg{door}"
    folder = tmp_path / "deploy" / "web"
    folder.mkdir(parents=True)
    (folder / "haproxy.cfg").write_text(HAPROXY_CFG)
    (folder / "nginx.conf").write_text(NGINX_CFG)
    (folder / "stack.yaml").write_text(
        yaml.safe_dump(
            {
                "stack": "web",
                "description": "An app behind a door.",
                "owners": ["team:platform"],
                "target": {"kind": "compose", "project": project},
                "secrets": KEYS,
                "components": {
                    "app": {"kind": "app", "replicas": 2, "health": {"path": "/", "within": "10s"}},
                    "door": {"kind": "proxy", "ports": {"http": door}, "health": {"within": "10s"}},
                },
                "backup": backup_in(seaweed, bucket),
            }
        )
    )
    proxy: dict[str, Any] = {
        "init": True,
        "user": "99:99",
        "depends_on": {"app": {"condition": "service_healthy"}},
        "ports": [f"127.0.0.1:{door}:8080", f"127.0.0.1:{stats}:8404"],
    }
    if kind == "haproxy":
        proxy |= {
            "image": HAPROXY,
            "command": ["haproxy", "-W", "-db", "-f", "/etc/haproxy.cfg"],
            "volumes": ["./haproxy.cfg:/etc/haproxy.cfg:ro"],
        }
        readings = {"kind": "haproxy", "url": f"http://127.0.0.1:{stats}/metrics", "backend": "app"}
    else:
        proxy |= {
            "image": NGINX,
            "command": ["nginx", "-c", "/etc/nginx.conf", "-g", "daemon off;"],
            "volumes": ["./nginx.conf:/etc/nginx.conf:ro"],
            "tmpfs": ["/tmp:mode=1777"],
        }
        readings = {"kind": "nginx", "path": "/cgi-bin/"}
    rule = {
        "proxy": "door",
        "server": kind,
        "readings": readings,
        "watch": "2s",
        "requests": 20,
        "errors": 0.05,
        "every": "0.2s",
        "unknown_for": "2s",
        "drain": "5s",
    }
    environ = {
        **docker.environ,
        "OPS_HOME": str(tmp_path / "home"),
        "OPS_STACKS_DIR": str(tmp_path / "deploy"),
        **keys_of(seaweed),
    }
    yield Stand(docker, folder, environ, door, stats, project, proxy, rule)
    docker.remove(project)


def answers(stand: Stand, word: str) -> bool:
    try:
        return stand.page == word
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize("stand", ["haproxy", "nginx"], indirect=True)
def test_a_new_version_gets_the_traffic_and_no_request_is_lost(stand: Stand) -> None:
    stand.deploy()
    until(lambda: answers(stand, "one"), what="the door to open", seconds=20)
    before = stand.started
    stand.word = "two"
    planned = {(step.verb, step.subject) for step in deployments.plan(stand.write()).steps}
    assert planned >= {
        ("create", "component/app-green"),
        ("switch", "proxy/door"),
        ("check", "traffic/app"),
        ("remove", "component/app-green"),
    }
    # nginx closes connections that are idle while it reloads, which a client that keeps them must expect.
    keep = stand.rule["server"] == "haproxy"
    with Load(stand.door, keep=keep) as kept, Load(stand.door, keep=False) as load:
        done = stand.deploy()
    assert kept.bad + load.bad == []
    # nginx' old processes take a last request beside the new ones.
    assert (load.versions[0], load.versions[-1]) == ("one", "two")
    assert load.good > 50
    assert stand.services == {"app", "door"}
    after = stand.started
    assert after[f"{stand.project}-door-1"] == before[f"{stand.project}-door-1"], (
        "the proxy was never stopped"
    )
    [watched] = done.watched
    assert watched.judgement.verdict == "promote"
    newest = revisions.newest(stand.write())
    assert newest is not None
    assert "blue-green (app: 0 of" in newest.note
    assert deployments.plan(stand.write()).empty


def deployed(stand: Stand) -> None:
    """The first version stands, and the door is open."""
    stand.deploy()
    until(lambda: answers(stand, "one"), what="the door to open", seconds=20)


def test_a_version_that_fails_under_traffic_goes_back_by_itself(stand: Stand) -> None:
    deployed(stand)
    stand.word, stand.status = "two", "Status: 500 Broken\\\\r\\\\n"
    with Load(stand.door, keep=False) as load:
        with pytest.raises(
            DeployFailed, match=r"traffic went back to the old version: app: \d+ of \d+ requests"
        ) as found:
            stand.deploy()
        until(lambda: answers(stand, "one"), what="the old version to answer", seconds=10)
    assert "the earlier revision was put back and is healthy" in found.value.message
    assert set(load.bad) == {"500"}, "its own failures reached somebody, and nothing else did"
    assert load.versions == ["one"]
    assert stand.services == {"app", "door"}
    newest = revisions.newest(stand.write())
    assert newest is not None
    assert newest.number == 1


def test_a_version_that_is_never_well_gets_no_traffic(stand: Stand) -> None:
    deployed(stand)
    stand.app = {"healthcheck": {"test": ["CMD", "false"], "interval": "0.2s", "retries": 2}}
    before = stand.started
    with Load(stand.door, keep=True) as load, pytest.raises(DeployFailed, match="app-green"):
        stand.deploy()
    assert load.bad == []
    assert stand.started == before, "the old version was not touched"


def test_readings_that_end_take_the_traffic_back(stand: Stand) -> None:
    deployed(stand)
    stand.word = "two"
    stand.rule |= {"watch": "30s", "unknown_for": "1s"}
    with relay(stand) as page, Load(stand.door, keep=True) as load:
        stand.rule["readings"] = {**stand.rule["readings"], "url": page.url}
        with pytest.raises(DeployFailed, match=r"how it does is unknown since .*410"):
            stand.deploy()
        until(lambda: answers(stand, "one"), what="the old version to answer", seconds=10)
    assert page.served > Page.LAST
    assert load.bad == []
    assert stand.services == {"app", "door"}


def test_a_quiet_stack_is_probed_and_without_it_goes_back(stand: Stand) -> None:
    deployed(stand)
    stand.word = "two"
    stand.rule |= {"requests": 1}
    with pytest.raises(DeployFailed, match="only 0 requests in 2 s"):
        stand.deploy()
    stand.rule |= {"probe": f"http://127.0.0.1:{stand.door}/cgi-bin/ask", "automatic": False}
    assert not stand.plan_moves()
    assert stand.plan_moves(blue_green=True)
    site = stand.write()
    fleet = load_fleet(site.settings)
    for asked, moved in (("as_declared", False), ("yes", True)):  # as the launchpad of Dagster says it
        stand.word = asked
        stand.write()
        done = run_things(fleet, "web", ["deployment"], {"deployment": {"apply": True, "blue_green": asked}})
        assert done.success, failure_of(done)
        [event] = done.get_asset_materialization_events()
        assert ("traffic" in event.materialization.metadata) is moved
        assert answers(stand, stand.word)


class Relay(http.server.BaseHTTPRequestHandler):
    """HAProxy's page, until it is gone."""

    def do_GET(self) -> None:
        page: Page = self.server.page  # type: ignore[attr-defined]
        page.served += 1
        if page.served > Page.LAST:
            self.send_error(410)
            return
        text = httpx.get(page.real, timeout=5).content
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None: ...


@dataclass
class Page:
    """A page that is gone after so many answers."""

    real: str
    url: str = ""
    served: int = 0
    LAST: ClassVar[int] = 12


@contextmanager
def relay(stand: Stand) -> Iterator[Page]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Relay)
    page = Page(f"http://127.0.0.1:{stand.stats}/metrics", f"http://127.0.0.1:{server.server_port}/metrics")
    server.page = page  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield page
    finally:
        server.shutdown()
        server.server_close()


STEPS = {
    "the file is changed, the proxy not told": ("reload", "old"),
    "the old version is gone, the traffic is with green": ("settle:1", "old"),
    "the traffic is back, green still there": ("settle:2", "new"),
}


@pytest.mark.parametrize("stand", ["haproxy"], indirect=True)
def test_a_kill_at_any_step_leaves_a_version_that_serves(stand: Stand) -> None:
    deployed(stand)
    stand.rule |= {"watch": "1s"}
    for count, (words, (step, stays)) in enumerate(STEPS.items()):
        old, stand.word = stand.word, f"v{count}"
        site = stand.write()
        with Load(stand.door, keep=True) as load:
            killed = subprocess.run(
                [sys.executable, "-m", "tests.integration.kill_bluegreen", step],
                env={**os.environ, **stand.environ, "PYTHONPATH": str(ROOT)}, cwd=stand.folder,
                capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
            assert killed.returncode == -signal.SIGKILL, f"{words}: {killed.stdout}\n{killed.stderr}"
            assert stand.page in (old, stand.word), words
            assert any("was killed" in one for one in deployments.plan(site).warnings), words
            kill_bluegreen.finish(site)
            assert stand.page == (stand.word if stays == "new" else old), words
        assert load.bad == [], words
        assert stand.services == {"app", "door"}, words
        assert not any("was killed" in one for one in deployments.plan(site).warnings), words
        stand.word = stand.page
    done = stand.deploy()
    assert done.recorded, (
        "what had the traffic at the last kill is recorded by the next deploy, and not made anew"
    )
    assert done.plan.empty
