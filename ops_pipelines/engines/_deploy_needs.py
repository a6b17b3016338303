"""What a deploy on target `process` is handed, and what it hands back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ops_pipelines.engines.ports import Supervisor
from ops_pipelines.errors import DeployFailed
from ops_pipelines.policy.bluegreen import Watched
from ops_pipelines.policy.machine import Card, Disk, Holder, Memory, PortState
from ops_pipelines.policy.plan import Finding, Plan
from ops_pipelines.policy.processes import ProcessState, Program


class Machine(Protocol):
    """What of this machine is free, and who holds what."""

    def port_state(self, port: int) -> PortState: ...
    def holders(self, port: int) -> tuple[Holder, ...] | None:
        """Processes that listen on a port; None where this user may not see them."""
        ...

    def tree(self, pid: int) -> frozenset[int]:
        """A process with all that descends from it; empty where it is gone."""
        ...

    def find_program(self, word: str, environment: Mapping[str, str], folder: Path) -> Path | None: ...
    def disk(self, path: Path) -> Disk | None: ...
    def used(self, path: Path) -> int:
        """Bytes of the files below a folder; 0 where it is not there yet."""
        ...

    def is_folder(self, path: Path) -> bool: ...
    def writable(self, path: Path) -> bool: ...
    def memory(self) -> Memory | None: ...
    def cards(self) -> tuple[Card, ...] | str:
        """Graphics cards, or the reason why they are unknown."""
        ...


class Health(Protocol):
    """Asks servers whether they answer: True, False, or None where it could not be observed."""

    def check_http(self, subject: str, url: str, *, timeout: float = 5.0) -> Finding: ...
    def check_tcp(self, subject: str, host: str, port: int, *, timeout: float = 5.0) -> Finding: ...
    def check_address(
        self, subject: str, address: str, *, path: str | None = None, timeout: float = 5.0
    ) -> Finding: ...


Secrets = Callable[[Program], Mapping[str, str]]
"""Environment variable -> value of a program's secrets, as they will be found when it starts.

Raises SecretMissing."""


@dataclass(frozen=True)
class Tools:
    """Everything outside that a deploy uses."""

    supervisor: Supervisor
    machine: Machine
    health: Health
    secrets: Secrets


@dataclass(frozen=True)
class RevisionFacts:
    """What is to be recorded of a deploy that succeeded."""

    stack: str
    programs: tuple[Program, ...]
    """All programs of the stack as they now run (policy.processes.programs_to_json)."""
    reason: str
    """`deploy`, `rollback` or `scale COMPONENT to N`."""

    @property
    def replicas(self) -> dict[str, int]:
        """Number of replicas by component."""
        count: dict[str, int] = {}
        for program in self.programs:
            count[program.component] = count.get(program.component, 0) + 1
        return count


Smoke = Callable[[], tuple[Finding, ...]]
"""Ask the deployed stack something that it must be able to answer."""

Record = Callable[[RevisionFacts], int]
"""Record a revision and return its number."""


def no_smoke() -> tuple[Finding, ...]:
    """A smoke test that asks nothing, for stacks that declare none."""
    return ()


def require_good(asked: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """What a smoke test found. Raises DeployFailed where a finding that counts is not good, or not known."""
    if bad := [one for one in asked if one.ok is not True and one.severity == "error"]:
        words = "; ".join(f"{one.subject}: {one.message}" for one in bad)
        raise DeployFailed(f"the smoke test failed: {words}", remedy=bad[0].remedy or "look at the logs")
    return asked


@dataclass(frozen=True)
class Deployed:
    """What a deploy did."""

    plan: Plan
    revision: int | None
    """None where nothing changed, so nothing was recorded."""
    findings: tuple[Finding, ...] = ()
    """Of the preflight and the smoke test."""
    seconds: float = 0.0
    watched: tuple[Watched, ...] = ()
    """What was seen of new versions beside the old ones."""


@dataclass(frozen=True)
class ReplicaStatus:
    """One replica as it is seen now."""

    component: str
    name: str
    """Name of its program; for a component that runs elsewhere, its address."""
    state: ProcessState | None
    """None for a component that runs elsewhere."""
    healthy: bool | None
    """None where it could not be observed."""
    pid: int | None = None
    uptime: float | None = None
    """Seconds since it started."""
    detail: str = ""
