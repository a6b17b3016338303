"""An adapter whose every call is a tick before it and one after it: for runs that are killed between two steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ops_pipelines.engines import _journal
from tests.engines.killed import Ticks


class Ticking:
    """Passes every call on to the real adapter."""

    def __init__(self, real: Any, fuse: Ticks) -> None:
        self._real, self._fuse = real, fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if not callable(found):
            return found

        def call(*arguments: Any, **words: Any) -> Any:
            self._fuse.tick()
            result = found(*arguments, **words)
            self._fuse.tick()
            return result

        return call


def tick_at_the_journal(fuse: Ticks) -> None:
    """Make writing and removing the journal steps too. For a process that is about to die."""
    write, remove = _journal.write, _journal.remove

    def write_and_tick(state: Path, journal: _journal.Journal) -> None:
        fuse.tick()
        write(state, journal)
        fuse.tick()

    def remove_and_tick(state: Path, stack: str) -> None:
        fuse.tick()
        remove(state, stack)
        fuse.tick()

    _journal.write, _journal.remove = write_and_tick, remove_and_tick
