"""The record of a restore that is switching its parts: what is live already, and what is still the old.

It is one local file, written before the first switch and removed after the last. Where it is found, an
earlier run was killed in between: the same restore again finishes it, and a restore of all parts that it had
switched takes its place.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

log = structlog.get_logger()


@dataclass(frozen=True)
class Entry:
    """One part of the restore."""

    part: str
    place: str
    switched: bool = False
    kept: str = ""
    """Where the old content is, once switched."""


@dataclass(frozen=True)
class Journal:
    """A restore whose parts were all staged and checked."""

    stack: str
    snapshot: str
    begun: str
    """When the first switch was about to happen (ISO 8601, UTC)."""
    entries: tuple[Entry, ...]

    @property
    def switched(self) -> tuple[Entry, ...]:
        """Parts that are live already."""
        return tuple(entry for entry in self.entries if entry.switched)

    @property
    def waiting(self) -> tuple[Entry, ...]:
        """Parts that are still the old ones."""
        return tuple(entry for entry in self.entries if not entry.switched)


def path_of(state: Path, stack: str) -> Path:
    """Where the journal of a stack lies below its state folder."""
    return state / f"restore-{stack}.json"


def read(state: Path, stack: str) -> Journal | None:
    """The journal of a restore that did not end, or None. An unreadable one is set aside and logged."""
    path = path_of(state, stack)
    try:
        raw = json.loads(path.read_bytes())
        return Journal(raw["stack"], raw["snapshot"], raw["begun"], tuple(Entry(**e) for e in raw["entries"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        path.replace(path.with_suffix(".unreadable"))
        log.warning("restore journal unreadable", path=str(path), error=str(error))
        return None


def write(state: Path, journal: Journal) -> None:
    """Write the journal so that it is on disk, whole, when this returns."""
    write_durably(path_of(state, journal.stack), json.dumps(asdict(journal), indent=1))


def write_durably(path: Path, text: str) -> None:
    """Replace a small file so that it is on disk, whole, when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".writing")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def remove(state: Path, stack: str) -> None:
    """Forget the journal: the restore is over."""
    with suppress(FileNotFoundError):
        path_of(state, stack).unlink()
