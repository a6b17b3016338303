"""Which unchanged files are read again tonight, so that rot is found before the last good copy is pruned.

A share a day, by bytes, the files that were read longest ago first: with a run each day all content is read once
in the cycle, whatever comes and goes meanwhile, and a second run of the same day reads nothing again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

_DAY = 86_400.0
_SAME_DAY = 0.8 * _DAY
"""A nightly run may begin a little earlier than the one before."""


@dataclass(frozen=True)
class LastRead:
    """When a file's content was last read (seconds since 1970; 0 where unknown), and whether that was such a share."""

    size: int
    at: float
    again: bool = False


def due(files: Mapping[str, LastRead], *, now: float, days: int) -> frozenset[str]:
    """Paths to read again now. `days` is the length of the cycle; 0 reads nothing again.

    A time that lies ahead (a clock that was wrong) counts as unknown, so as long ago."""
    if days < 1 or not files:
        return frozenset()
    ages = {path: one.at if one.at <= now else 0.0 for path, one in files.items()}
    total = sum(max(1, one.size) for one in files.values())
    left = -(-total // days) - sum(
        max(1, one.size) for path, one in files.items() if one.again and now - ages[path] < _SAME_DAY
    )
    chosen: list[str] = []
    for path in sorted(files, key=lambda path: (ages[path], _mixed(path))):
        if left <= 0:
            break
        if now - ages[path] < _SAME_DAY:
            continue
        chosen.append(path)
        left -= max(1, files[path].size)
    return frozenset(chosen)


def _mixed(path: str) -> str:
    """An order that is the same each time, and has nothing to do with models or sizes."""
    return hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()
