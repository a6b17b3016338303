"""What runs on the target `process`: programs wanted, programs seen.

A `Program` says everything that is needed to run it again: how it is started, which ports it takes, how to
tell that it answers, what must answer before it. A revision keeps programs as JSON and nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

ProcessState = Literal["running", "starting", "stopping", "stopped", "backoff", "exited", "fatal", "unknown"]

LOCALHOST = "127.0.0.1"
"""Where the programs of this machine are reached."""


@dataclass(frozen=True)
class Ready:
    """How to tell that one program answers."""

    port: int | None = None
    """Port that is asked on 127.0.0.1; without it, running for a second is enough."""
    path: str | None = None
    """Path of an HTTP GET that must answer 2xx; without it, a TCP connection is enough."""
    within: float = 60.0
    """Seconds from its start."""
    every: float = 0.25
    """Seconds between two questions."""
    scheme: Literal["http", "https"] = "http"


@dataclass(frozen=True)
class Program:
    """One process that is kept running. Its environment holds no secret values; `secrets` names references."""

    name: str
    """Unique on the machine: `obelisk.embedder.0`."""
    command: tuple[str, ...]
    environment: Mapping[str, str]
    directory: str
    stop_seconds: float = 10.0
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Environment variable -> reference of the secret, resolved at the moment of starting."""
    ports: tuple[int, ...] = ()
    """Ports that it alone listens on."""
    shared_ports: tuple[int, ...] = ()
    """Ports that it listens on together with its component's other replicas."""
    ready: Ready = Ready()
    after: tuple[str, ...] = ()
    """Components that must be healthy before it starts."""
    inherit: bool = False
    """Receives the whole environment that supervisord was started with (this project's own services, which
    resolve secrets themselves). Else it receives PATH, HOME and the like, and nobody else's secrets."""

    @property
    def component(self) -> str:
        """Component that it is a replica of: `embedder` of `obelisk.embedder.0`."""
        words = self.name.split(".")
        return words[1] if len(words) > 2 else self.name

    @property
    def digest(self) -> str:
        """Changes exactly when a restart is needed."""
        facts: list[Any] = [self.command, sorted(self.environment.items()), self.directory, self.stop_seconds]
        facts += [sorted(self.secrets.items()), self.inherit]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


@dataclass(frozen=True)
class ProcessStatus:
    """What the supervisor says of one program."""

    name: str
    state: ProcessState
    pid: int | None
    since: float | None
    """Seconds since it started, where it runs."""
    detail: str = ""


def to_json(program: Program) -> dict[str, Any]:
    """A program as plain JSON types, for the record of a revision."""
    return asdict(program)


def from_json(record: Mapping[str, Any]) -> Program:
    """The program of `to_json`. What a newer version added is left out; what an older one lacked is default.

    Raises KeyError or TypeError where the record is not a program.
    """
    known = {item.name for item in fields(Program)}
    facts = {name: value for name, value in record.items() if name in known}
    ready = facts.get("ready") or {}
    names = {item.name for item in fields(Ready)}
    return Program(
        **{
            **facts,
            "command": tuple(facts["command"]),
            "environment": dict(facts["environment"]),
            "secrets": dict(facts.get("secrets") or {}),
            "ports": tuple(facts.get("ports") or ()),
            "shared_ports": tuple(facts.get("shared_ports") or ()),
            "after": tuple(facts.get("after") or ()),
            "ready": Ready(**{name: value for name, value in ready.items() if name in names}),
        }
    )


def programs_to_json(programs: Iterable[Program]) -> list[dict[str, Any]]:
    """Programs as plain JSON types, in order."""
    return [to_json(program) for program in programs]


def programs_from_json(records: Iterable[Mapping[str, Any]]) -> tuple[Program, ...]:
    """The programs of `programs_to_json`."""
    return tuple(from_json(record) for record in records)


def of_stack(name: str, stack: str) -> bool:
    """Whether a program's name says that it belongs to a stack."""
    return name.startswith(stack + ".")
