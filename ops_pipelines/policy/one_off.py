"""One-off containers that move data: when one is used, what it is given, which of them are nobody's any more.

They speak Dagster Pipes (https://docs.dagster.io/guides/build/external-pipelines/dagster-pipes-details-and-customization):
one JSON document a line. Ours are custom messages with the key `ops`: progress, result, error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

STACK_LABEL = "io.ops-pipelines.one-off"
FENCE_LABEL = "io.ops-pipelines.fence"
DATA = "/data"
"""Where the containers find the files of their part."""
_VERSION_KEY = "__dagster_pipes_version"
_FORGOTTEN = 3600.0
"""Seconds after which a container that no lease stands for is nobody's."""

SPARED = (".restore-*", ".before-*", ".removing-*", "lost+found")
"""Names at the top of a volume that are not of its data: what restores staged and kept, and the file system's own."""

By = Literal["auto", "process", "container"]


def is_spare(name: str) -> bool:
    """Whether a name at the top of a volume is none of its data."""
    return any(fnmatchcase(name, one) for one in SPARED)


@dataclass(frozen=True)
class Where:
    """Who moves the data of a stack, and why."""

    container: bool
    why: str


def choose(by: By, engine: str | None, unreadable: Sequence[str]) -> Where:
    """`engine` is the address of an engine on another machine, None for this one's; `unreadable` are folders behind
    volumes that this process cannot read."""
    if by == "container":
        return Where(True, "`target.data.by` says so")
    if by == "process":
        return Where(False, "`target.data.by` says so")
    if engine is not None:
        return Where(True, f"the engine is at {engine}, whose folders are not here")
    if unreadable:
        return Where(True, f"{unreadable[0]} cannot be read by this user")
    return Where(False, "the folders behind its volumes can be read here")


@dataclass(frozen=True)
class Mounted:
    """A folder of the engine's machine, or a volume by its name, as the container finds it."""

    source: str
    target: str
    read_only: bool
    volume: bool = False


@dataclass(frozen=True)
class OneOff:
    """One container that does one thing and is removed."""

    name: str
    image: str
    command: tuple[str, ...]
    environ: Mapping[str, str] = field(repr=False)
    mounts: tuple[Mounted, ...]
    labels: Mapping[str, str]
    network: str
    memory: int
    """Bytes that it may use, swap included."""
    cpus: float


@dataclass(frozen=True)
class Message:
    """One line of a container that is a message, and not a text."""

    kind: Literal["progress", "result", "error", "log", "other"]
    value: Mapping[str, Any]


def message(line: str) -> Message | None:
    """The message that a line is; None for any other text."""
    if _VERSION_KEY not in line:
        return None
    try:
        raw = json.loads(line)
        params = raw["params"] or {}
        if raw["method"] == "log":
            return Message(
                "log", {"message": str(params["message"]), "level": str(params.get("level", "INFO"))}
            )
        payload = params.get("payload") if raw["method"] == "report_custom_message" else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if isinstance(payload, dict) and payload.get("ops") in ("progress", "result", "error"):
        return Message(payload["ops"], payload)
    return Message("other", {})


def is_stray(fence: str, age: float, current: int | None) -> bool:
    """Whether a container is left over: the lease under which it was started is gone, or it has none and is old.

    `fence` is its label, `current` the token of the lease that is held now, None where none is."""
    if fence:
        return current is not None and fence != str(current)
    return age > _FORGOTTEN
