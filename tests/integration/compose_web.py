"""A page and its backend, declared as a stack on a Docker Engine: what the tests of target `compose` deploy."""

from __future__ import annotations

import socket as socketlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from ops_pipelines.settings import load_settings
from ops_pipelines.wiring import deployments
from ops_pipelines.wiring.site import Site, load_fleet
from tests.declaring import KEYS, backup_in, keys_of
from tests.servers.docker import IMAGE, Docker
from tests.servers.seaweed import Seaweed
from tests.waiting import free_ports

SECRET = "a-password-that-nobody-may-see"
SERVE = "mkdir -p /w; cat /conf.txt > /w/index.html; exec httpd -f -p 80 -h /w"
BACK = "mkdir -p /w; cat /run/secrets/pw > /w/index.html; exec httpd -f -p 80 -h /w"
ASK = {"test": ["CMD", "wget", "-qO-", "http://127.0.0.1/"], "interval": "0.3s", "retries": 5}

OFF = {
    "image": IMAGE,
    "profiles": ["off"],
    "volumes": ["of-off:/ours", "not-ours:/theirs"],
}
"""Of a Compose profile that is off: neither it nor its volumes are anybody's business."""


@dataclass
class Stand:
    """A page and its backend, as somebody declares them, with a bucket of a real store."""

    docker: Docker
    folder: Path
    environ: dict[str, str]
    port: int
    project: str
    services: dict[str, Any] = field(default_factory=dict)

    def write(self) -> Site:
        """The stack as its files stand now."""
        (self.folder / "compose.yaml").write_text(
            yaml.safe_dump(
                {
                    "services": {**self.services, "off": OFF},
                    "volumes": {"data": {}, "of-off": {}, "not-ours": {"external": True}},
                    "secrets": {"pw": {"environment": "WEB_PASSWORD"}},
                }
            )
        )
        return load_fleet(load_settings(self.environ, cwd=self.folder)).site("web")

    def deploy(self) -> deployments.DeployResult:
        return deployments.deploy(self.write(), by="test")

    @property
    def page(self) -> str:
        """What the page says to a visitor."""
        return httpx.get(f"http://127.0.0.1:{self.port}", timeout=5).text.strip()

    @contextmanager
    def squat(self, port: int) -> Iterator[None]:
        """Somebody else listens on a port of this machine."""
        with socketlib.socket() as other:
            other.bind(("127.0.0.1", port))
            other.listen()
            yield

    @property
    def started(self) -> dict[str, str]:
        """Container -> when it was started: the same answer twice means that nothing was touched."""
        return {one.name: one.started for one in self.docker.engine.containers(self.project)}

    def subjects(self, site: Site) -> dict[str, str]:
        return {step.subject: step.verb for step in deployments.plan(site).steps}


@contextmanager
def web_stand(
    docker: Docker, seaweed: Seaweed, bucket: str, tmp_path: Path, *, socket: str | None = None
) -> Iterator[Stand]:
    """The stack, on an engine that its commands find at `socket` (default: the engine's own)."""
    [port] = free_ports(1)
    project = f"web{port}"
    environ = {
        **docker.environ,
        **({"DOCKER_HOST": socket} if socket else {}),
        "OPS_HOME": str(tmp_path / "home"),
        "OPS_STACKS_DIR": str(tmp_path / "deploy"),
        "WEB_PASSWORD": SECRET,
        **keys_of(seaweed),
    }
    folder = tmp_path / "deploy" / "web"
    folder.mkdir(parents=True)
    (folder / "conf.txt").write_text("one")
    (folder / "stack.yaml").write_text(
        yaml.safe_dump(
            {
                "stack": "web",
                "description": "A page and its backend.",
                "owners": ["team:platform"],
                "target": {"kind": "compose", "project": project},
                "secrets": {"pw": "${WEB_PASSWORD}", **KEYS},
                "components": {
                    "web": {"kind": "app", "ports": {"http": port}, "health": {"within": "20s"}},
                    "back": {"kind": "app", "health": {"within": "10s"}},
                },
                "backup": backup_in(seaweed, bucket),
            }
        )
    )
    services: dict[str, Any] = {
        "web": {
            "image": IMAGE,
            "init": True,
            "command": ["sh", "-c", SERVE],
            "ports": [f"127.0.0.1:{port}:80"],
            "volumes": ["./conf.txt:/conf.txt:ro", "data:/data"],
            "healthcheck": ASK,
            "depends_on": {"back": {"condition": "service_healthy"}},
        },
        "back": {
            "image": IMAGE,
            "init": True,
            "command": ["sh", "-c", BACK],
            "secrets": ["pw"],
            "healthcheck": ASK,
        },
    }
    yield Stand(docker, folder, environ, port, project, services)
    docker.remove(project)
