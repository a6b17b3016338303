"""Progress on a terminal: one line a step, redrawn; plain lines, few, where nobody looks."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ops_pipelines.engines.ports import Progress as Report
from ops_pipelines.policy.words import progress_line, size_in_words

_EVERY = 10.0


@contextmanager
def progress() -> Iterator[Report]:
    """A Progress on standard error."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    bars = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[amount]}", markup=False),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=False,
    )
    with bars:
        yield _Bars(bars)


class _Bars:
    """A bar for each step."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}
        self._lock = threading.Lock()

    def __call__(self, step: str, done: int, total: int | None, unit: str) -> None:
        with self._lock:  # several threads read and send at once
            if step not in self._tasks:
                self._tasks[step] = self._bars.add_task(step, total=total, amount="")
        self._bars.update(self._tasks[step], completed=done, total=total, amount=_amount(done, total, unit))


class _Lines:
    """A line when a step begins to take long, and at its end."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}
        self._begun: dict[str, float] = {}
        self._ended: set[tuple[str, int]] = set()

    def __call__(self, step: str, done: int, total: int | None, unit: str) -> None:
        now = time.monotonic()
        begun = self._begun.setdefault(step, now)
        ended = total is not None and done >= total
        if ended and (step, done) in self._ended:
            return
        if ended or now - self._said.setdefault(step, now) >= _EVERY:
            self._said[step] = now
            if ended:
                self._ended.add((step, done))
            print(progress_line(step, done, total, unit, now - begun), file=sys.stderr, flush=True)  # noqa: T201


def _amount(done: int, total: int | None, unit: str) -> str:
    if unit == "bytes":
        return size_in_words(done) if total is None else f"{size_in_words(done)} of {size_in_words(total)}"
    return f"{done} {unit}" if total is None else f"{done} of {total} {unit}"
