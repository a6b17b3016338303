"""A small stack of one web server, with a bucket of a real store, in a home folder of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.adapters.supervisor import Supervisord
from ops_pipelines.policy.layout import Layout
from ops_pipelines.settings import load_settings
from ops_pipelines.wiring import connect
from ops_pipelines.wiring.site import Site, load_fleet
from tests.servers.seaweed import Seaweed
from tests.servers.supervisord import SERVE
from tests.waiting import free_ports


@dataclass
class Stand:
    """The stack `chat`. `change` replaces parts of its declaration."""

    folder: Path
    store: S3Store
    environ: dict[str, str]
    declared: dict[str, Any]
    ports: list[int] = field(default_factory=lambda: free_ports(6))

    layout = Layout("ops")

    def change(self, **sections: Any) -> Site:
        """The stack as it is declared from now on; a section that is None is taken out."""
        self.declared |= sections
        return self.site

    def web(self, **facts: Any) -> dict[str, Any]:
        """A component: a web server that answers at once."""
        return {
            "kind": "app", "command": ["{python}", "-c", SERVE, "{port.http}"],
            "ports": {"http": self.ports[0]}, "stop_within": "5s",
            "health": {"path": "/", "within": "20s", "every": 0.05}, **facts,
        }  # fmt: skip

    @property
    def site(self) -> Site:
        """The stack as it is declared now."""
        path = self.folder / "deploy" / "chat" / "stack.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({name: one for name, one in self.declared.items() if one is not None}))
        return load_fleet(load_settings(self.environ, cwd=self.folder)).site("chat")

    def scaling(self, **facts: Any) -> dict[str, Any]:
        """A rule for the web server."""
        return {
            "web": {
                "component": "web", "mode": "approve", "minimum": 1, "maximum": 3, "cooldown": "1h",
                "source": "http://127.0.0.1:9/metrics", "signals": {"queue": {"query": "queue", "target": 10}},
                **facts,
            }
        }  # fmt: skip


@pytest.fixture
def stand(tmp_path: Path, seaweed: Seaweed, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stand]:
    """Nothing is deployed and the bucket is empty. Whatever was started is stopped at the end."""
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "OPS_HOME": str(tmp_path / "home"),
        "KEY": seaweed.access_key,
        "SECRET": seaweed.secret_key,
    }
    declared = {
        "stack": "chat",
        "description": "A web server.",
        "owners": ["team:a"],
        "target": {"kind": "process"},
        "secrets": {"key": "${KEY}", "secret": "${SECRET}"},
        "backup": {
            "bucket": bucket, "prefix": "ops", "endpoint": seaweed.endpoint, "access_key": "key",
            "secret_key": "secret",
        },
    }  # fmt: skip
    made = Stand(tmp_path, seaweed.store(bucket), environ, declared)
    made.declared["components"] = {"web": made.web()}
    _without_waiting(monkeypatch)
    yield made
    Supervisord(tmp_path / "home" / "supervisor", environ).shutdown()


def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever finds a lease held is told so at once."""
    for name in ("take_lease", "take_drill_lease"):
        take = getattr(connect, name)
        monkeypatch.setattr(connect, name, lambda *words, take=take, **more: take(*words, wait=0.0, **more))


def texts(folder: Path) -> Mapping[str, str]:
    """Content of each file of a folder, by name."""
    return {path.name: path.read_text() for path in folder.iterdir()} if folder.is_dir() else {}
