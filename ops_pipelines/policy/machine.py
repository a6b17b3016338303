"""What was seen of a machine: ports, disks, memory, cards. Sizes are bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PortState = Literal["free", "taken", "forbidden", "unknown"]


@dataclass(frozen=True)
class Holder:
    """A process that listens on a port."""

    pid: int
    name: str
    user: str


@dataclass(frozen=True)
class Disk:
    """One file system."""

    device: int
    """The same for all paths of one file system."""
    free: int
    """Bytes that this user may still write."""
    path: str
    """A folder on it, to name it by."""


@dataclass(frozen=True)
class Memory:
    """Memory of the machine or of its container."""

    total: int
    available: int


@dataclass(frozen=True)
class Card:
    """One graphics card."""

    index: int
    name: str
    memory: int
    free: int | None
    """None where it is not known."""
