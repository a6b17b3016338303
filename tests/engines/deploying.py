"""A small stack of real web servers, deployed on a real supervisord."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ops_pipelines.adapters import health
from ops_pipelines.adapters.machine import LocalMachine
from ops_pipelines.engines import deploy as engine
from ops_pipelines.engines.deploy import Deployed, RevisionFacts, Tools
from ops_pipelines.errors import LeaseLost
from ops_pipelines.policy.plan import Finding
from ops_pipelines.policy.processes import Program
from ops_pipelines.policy.programs import Places
from ops_pipelines.stack.model import Stack
from tests.servers.supervisord import SERVE, SupervisordServer
from tests.waiting import free_ports


@dataclass
class Lease:
    """A fence that is lost after so many changes."""

    token: int = 1
    left: int = 10**6

    def check(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise LeaseLost("somebody else holds the lease", remedy="look who")


@dataclass
class Demo:
    """The stack `demo` on one supervisord, with the revisions that were recorded."""

    server: SupervisordServer
    ports: list[int] = field(default_factory=lambda: free_ports(12))
    revisions: list[RevisionFacts] = field(default_factory=list)
    lease: Lease = field(default_factory=Lease)

    @property
    def places(self) -> Places:
        return Places(str(self.server.home), sys.executable, str(self.server.home))

    @property
    def tools(self) -> Tools:
        adapter = self.server.adapter
        return Tools(adapter, LocalMachine(os.environ["PATH"]), health, adapter.secrets)

    @property
    def before(self) -> tuple[Program, ...]:
        return self.revisions[-1].programs if self.revisions else ()

    def record(self, facts: RevisionFacts) -> int:
        self.revisions.append(facts)
        return len(self.revisions)

    def web(self, place: int, **facts: Any) -> dict[str, Any]:
        """A web server on the port at a place of `ports`."""
        return {
            "kind": "app", "command": ["{python}", "-c", SERVE, "{port.http}"],
            "ports": {"http": self.ports[place]}, "stop_within": "5s",
            "health": {"path": "/", "within": "10s", "every": 0.05}, **facts,
        }  # fmt: skip

    def stack(self, components: Mapping[str, Any], **rest: Any) -> Stack:
        return Stack.model_validate(
            {"stack": "demo", "description": "", "owners": ["team:a"], "target": {"kind": "process"},
             "components": dict(components), **rest}
        )  # fmt: skip

    def deploy(self, stack: Stack, **words: Any) -> Deployed:
        words = {"fence": self.lease, "record": self.record, "before": self.before, **words}
        return engine.deploy(stack, self.places, self.tools, **words)

    def scale(self, stack: Stack, component: str, replicas: int, **words: Any) -> Deployed:
        words = {"fence": self.lease, "record": self.record, "before": self.before, **words}
        return engine.scale(stack, self.places, component, replicas, self.tools, **words)

    def pids(self) -> dict[str, int | None]:
        return {name: status.pid for name, status in self.server.adapter.status().items()}

    def digests(self) -> dict[str, str]:
        return dict(self.server.adapter.programs())


def bad_smoke() -> tuple[Finding, ...]:
    return (
        Finding("model/embedder", True, "answers"),
        Finding("collection/docs", None, "could not be searched"),
    )
