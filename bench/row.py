"""One line of a benchmark: what was measured, against whom, and the ratio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One measured thing. Both figures come from the same run on the same machine."""

    what: str
    ours: float
    unit: str
    peer: str = ""
    """Name of what it is compared with; empty where it stands alone."""
    theirs: float | None = None
    target: str = ""
    """What was set out to be reached, and whether it is."""

    @property
    def ratio(self) -> float | None:
        """Ours over theirs: below 1 where we take less."""
        return self.ours / self.theirs if self.theirs else None

    @property
    def line(self) -> str:
        """The row as it is printed."""
        words = [f"{self.what:52} {self.ours:8.2f} {self.unit}"]
        if self.ratio is not None:
            words.append(f"{self.theirs:8.2f} {self.unit}  {self.ratio:5.2f} x  {self.peer}")
        if self.target:
            words.append(f"[{self.target}]")
        return "   ".join(words)


def within(figure: float, limit: float, unit: str) -> str:
    """A target in words: `under 5 s: yes`."""
    return f"under {limit:g} {unit}: {'yes' if figure < limit else 'NO'}"


def show(title: str, rows: Sequence[Row]) -> None:
    """Print the rows of one benchmark."""
    print(f"\n{title}")
    for row in rows:
        print(f"  {row.line}")
