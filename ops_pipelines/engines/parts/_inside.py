"""A live folder that is the top of a mounted volume: it cannot be renamed, so that what replaces it is staged in it.

    volume/                       the live folder, a mount
    volume/.restore-<id>          what was staged
    volume/.restore-<id>.json     the note: what is staged here, and how far the switch has come
    volume/.before-<id>           what was live before

A switch moves what is live into the one folder and then what was staged out of the other, name by name. The note tells
a later call which of the two it was at: nothing is lost at any point, and the same call does the rest. Between the two
the folder is neither the old nor the new one, so its servers rest until the switch is over.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ops_pipelines.engines.parts._folders import Staging, sync_folder
from ops_pipelines.policy.one_off import DATA, is_spare


def is_top(live: Path) -> bool:
    """Whether a live folder is all of a volume that is mounted into a container of ours."""
    return live.is_relative_to(DATA) and os.path.ismount(live)


@dataclass(frozen=True)
class Inside(Staging):
    """A place inside the live folder."""

    @property
    def content(self) -> Path:
        """Where the staged content is now."""
        note = self.note()
        return self.live if note is not None and note.emptied and self.live is not None else self.path

    def finish_switch(self, swap: Callable[[Path, Path], bool] | None = None) -> str:
        """Move the live names aside and the staged ones up; after a crash, what is left of it."""
        del swap
        note, live = self.begin_switch(), self.path.parent
        before = Path(note.before)
        if not note.emptied:
            before.mkdir(exist_ok=True)
            _move(_names(live), live, before)
            _as(live, before)
            note = replace(note, emptied=True)
            self.write_note(note)
        if self.path.exists():
            _move(os.listdir(self.path), self.path, live)
            _as(self.path, live)
            self.path.rmdir()
            sync_folder(live)
        return str(before)

    def remove(self) -> None:
        """Delete the place and its note. A switch that began is finished instead: nothing live is deleted."""
        if self.switching:
            self.finish_switch()
            self.forget()
        else:
            super().remove()


def _names(live: Path) -> list[str]:
    return [name for name in os.listdir(live) if not is_spare(name)]


def _move(names: Iterable[str], source: Path, into: Path) -> None:
    for name in names:
        (source / name).rename(into / name)
    sync_folder(source)
    sync_folder(into)


def _as(one: Path, other: Path) -> None:
    """Give a folder the owner and the mode of another, where this process may."""
    found = one.stat()
    with suppress(PermissionError):
        os.chown(other, found.st_uid, found.st_gid)
    with suppress(PermissionError):
        other.chmod(found.st_mode & 0o7777)
