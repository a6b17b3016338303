"""Readings and decisions: what was measured, and what scaling concluded from it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Reading:
    """One measured signal. Unknown is never 0: `value` is None and `reason` says why."""

    signal: str
    value: float | None
    at: datetime
    """When it was measured, or when the attempt failed (UTC)."""
    reason: str = ""
    quiet: bool = False
    """Nothing happened that could be measured (no request ended): such a reading asks for nothing by itself, as
    a server that hangs looks the same as one that rests."""

    @property
    def known(self) -> bool:
        """True where a number was measured."""
        return self.value is not None


def unknown(signal: str, at: datetime, reason: str) -> Reading:
    """A reading that could not be taken."""
    return Reading(signal, None, at, reason)


@dataclass(frozen=True)
class Opinion:
    """What one signal alone would ask for."""

    signal: str
    replicas: int | None
    """None where the reading is unknown."""
    reason: str


@dataclass(frozen=True)
class Decision:
    """What scaling concluded."""

    component: str
    current: int
    wanted: int
    at: datetime
    reason: str
    opinions: tuple[Opinion, ...]
    bounded_by: tuple[str, ...]
    """What kept it from asking for more or less: minimum, maximum, step, cooldown, unknown."""
    readings: tuple[Reading, ...]
    policy: str

    @property
    def changes(self) -> bool:
        """True where replicas would be added or removed."""
        return self.wanted != self.current
