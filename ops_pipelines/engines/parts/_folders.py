"""A folder that is replaced by another in one step, whatever dies in between.

    models                       the live folder
    models.restore-<id>          what was staged, beside it
    models.restore-<id>.json     the note: what is staged here, and how far the switch has come
    models.before-<id>           the folder that was live before

On Linux the two folders change places in one system call; where the file system cannot, by two renames. The
note holds the inode of the staged folder, so that a later call sees from the folders themselves which of the
renames were done, and does the rest.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ops_pipelines.errors import PartFailed

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_CANNOT = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM)


@dataclass(frozen=True)
class Note:
    """What is known of a place that was made."""

    part: str
    """Digest of what is staged there."""
    whole: bool = False
    """True once everything is in it."""
    inode: int | None = None
    """Inode of the staged folder, from when a switch began."""
    before: str = ""
    """Where the live folder goes, from when a switch began; empty where there was none."""
    emptied: bool = False
    """For a place inside the live folder: whether all that was live has been moved aside."""


@dataclass(frozen=True)
class Staging:
    """A place, and the live folder beside it that it may replace (None: a copy somewhere else)."""

    path: Path
    live: Path | None

    @property
    def note_path(self) -> Path:
        """The note's file."""
        return self.path.with_name(f"{self.path.name}.json")

    @property
    def _new_note_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json.new")

    def note(self) -> Note | None:
        """The note, or None where there is none that can be read: the place is then nobody's."""
        try:
            return Note(**json.loads(self.note_path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write_note(self, note: Note) -> None:
        """Replace the note, on disk before this returns."""
        temporary = self._new_note_path
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(asdict(note), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.note_path)
        sync_folder(self.note_path.parent)

    @property
    def switching(self) -> bool:
        """True where a switch began and its end is not recorded."""
        note = self.note()
        return note is not None and note.inode is not None

    @property
    def content(self) -> Path:
        """Where the staged content is now: at the live folder's name, once they have changed places."""
        note = self.note()
        if note is not None and note.inode is not None and self.live and _inode(self.live) == note.inode:
            return self.live
        return self.path

    def begin(self, part: str) -> None:
        """Make the place, or go on with the one that was begun for the same content.

        Raises PartFailed where something else is there."""
        note = self.note()
        if note is None and self.path.exists() and any(self.path.iterdir()):
            raise PartFailed(
                f"{self.path} is not empty, and nothing says that a restore made it",
                remedy="name another place, or move what is there away",
            )
        if note is not None and note.part != part:
            self.remove()
        self.write_note(Note(part))
        self.path.mkdir(parents=True, exist_ok=True)

    def begin_switch(self) -> Note:
        """Record which folder is to become live and where the old one goes."""
        note = self.note()
        if note is None or self.live is None:
            raise _not_staged(self.path)
        if note.inode is None:
            if not note.whole:
                raise _not_staged(self.path)
            before = str(_free_name(self)) if self.live.exists() else ""
            note = replace(note, inode=self.path.stat().st_ino, before=before)
            self.write_note(note)
        return note

    def finish_switch(self, swap: Callable[[Path, Path], bool] | None = None) -> str:
        """Make the staged folder live and say where the old one is kept. May be called again after a crash.

        The note stays until `forget`; `swap` stands in for the system call in tests."""
        note, live = self.begin_switch(), self.live
        if live is None:
            raise _not_staged(self.path)
        before = Path(note.before) if note.before else None
        if _inode(live) != note.inode:
            if _inode(self.path) != note.inode:
                raise PartFailed(
                    f"neither {live} nor {self.path} is the folder that was staged",
                    remedy=f"look what moved them; the old content is in {before or 'neither'}",
                )
            if not live.exists():
                self.path.rename(live)
            elif not (swap or exchange)(self.path, live):
                live.rename(before if before and not before.exists() else _free_name(self))
                self.path.rename(live)
            sync_folder(live.parent)
        if self.path.exists():
            before = before if before and not before.exists() else _free_name(self)
            self.path.rename(before)
            sync_folder(live.parent)
        return str(before) if before and before.exists() else ""

    def forget(self) -> None:
        """Remove the note: the switch is over."""
        self.note_path.unlink(missing_ok=True)
        self._new_note_path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete the place and its note. A switch that began is finished instead: nothing live is deleted."""
        note = self.note()
        if note is not None and note.inode is not None:
            between = note.before and Path(note.before).exists() and self.live and not self.live.exists()
            if between or self.content == self.live:
                self.finish_switch()
                self.forget()
                return
        if self.path.exists():
            _make_removable(self.path)
            shutil.rmtree(self.path)
        self.forget()


def exchange(one: Path, other: Path) -> bool:
    """Let two folders change places in one step. False where this system or file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _CANNOT:
        return False
    raise OSError(code, os.strerror(code), str(one), None, str(other))


def require_movable(live: Path) -> None:
    """Raise PartFailed where a live folder is a mount point, which cannot be renamed."""
    live.parent.mkdir(parents=True, exist_ok=True)
    if live.exists() and (live.stat().st_dev != live.parent.stat().st_dev or os.path.ismount(live)):
        raise PartFailed(
            f"{live} is the top of a mounted volume and cannot be replaced in one step",
            remedy="let `path` be a folder inside what is mounted, or restore into another place (--into) and copy"
            " from there",
        )


def sync_folder(path: Path) -> None:
    """Bring a folder's names to disk."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_all(path: Path) -> None:
    """Bring everything that was written to the path's file system to disk. Raises OSError where some of it could not
    be written (which Linux tells from 5.8 on)."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        code = _syncfs(handle)
    finally:
        os.close(handle)
    if code in _CANNOT:
        os.sync()
    elif code:
        raise OSError(code, os.strerror(code), str(path))


def _syncfs(handle: int) -> int:
    """The error's number, 0 where all went well."""
    try:
        call = ctypes.CDLL(None, use_errno=True).syncfs
    except (AttributeError, OSError):
        return errno.ENOSYS
    return ctypes.get_errno() if call(handle) else 0


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _free_name(staging: Staging) -> Path:
    """A name for the old folder that nothing has yet."""
    base = staging.path.name.replace(".restore-", ".before-", 1)
    names = (f"{base}{suffix}" for suffix in ("", *(f"-{number}" for number in range(2, 1000))))
    return next(path for name in names if not (path := staging.path.with_name(name)).exists())


def _make_removable(folder: Path) -> None:
    """Let folders be emptied that were staged without the right to write into them."""
    for name, _, _ in os.walk(folder):
        os.chmod(name, 0o700)


def _not_staged(path: Path) -> PartFailed:
    return PartFailed(
        f"{path} is no place that a restore has finished staging beside a live folder",
        remedy="restore without naming a place: a place elsewhere is a copy, and is not switched",
    )
