"""Traffic moved to a new version behind a real HAProxy and a real nginx, under load, on a real Docker Engine."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from ops_pipelines.settings import load_settings
from ops_pipelines.wiring import deployments, revisions
from ops_pipelines.wiring.site import Site, load_fleet
from tests.parts import require
from tests.servers.docker import IMAGE, Docker
from tests.servers.seaweed import Seaweed
from tests.waiting import free_ports, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

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
                "secrets": {"a": "${S3A}", "s": "${S3S}"},
                "components": {
                    "app": {"kind": "app", "replicas": 2, "health": {"path": "/", "within": "10s"}},
                    "door": {"kind": "proxy", "ports": {"http": door}, "health": {"within": "10s"}},
                },
                "backup": {
                    "bucket": bucket,
                    "endpoint": seaweed.endpoint,
                    "access_key": "a",
                    "secret_key": "s",
                    "lease": "30s",
                },
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
        "S3A": seaweed.access_key,
        "S3S": seaweed.secret_key,
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
