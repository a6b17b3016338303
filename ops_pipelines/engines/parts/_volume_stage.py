"""Put the files of a volume into a new folder, and compare a folder with what it should hold."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

from ops_pipelines.engines._blobs import in_parallel
from ops_pipelines.engines.ports import Fetch, Progress
from ops_pipelines.errors import PartFailed
from ops_pipelines.policy.manifest import FileEntry, FolderEntry
from ops_pipelines.policy.paths import clashing, decoded_name

_CHUNK = 1 << 20
_HOLE = 1 << 16
"""Bytes of zeros from which on a hole is worth its while."""
_PUNCH = 0x02 | 0x01
"""FALLOC_FL_PUNCH_HOLE and FALLOC_FL_KEEP_SIZE of linux/falloc.h."""
_SETTLED = 0o1777
"""Bits of a mode that a restored file may have: nobody becomes somebody else by a program from a backup."""


@dataclass(frozen=True)
class VolumeStager:
    """Fills one folder."""

    folder: Path
    live: Path | None
    """The folder in use: a file of it with the same name, size and time is copied, not fetched, where it has
    the right content. None: everything is fetched."""
    fetch: Fetch
    progress: Progress

    def fill(self, files: Sequence[FileEntry], folders: Sequence[FolderEntry]) -> None:
        """Bring everything into the folder and drop what else is there. What an earlier call brought stays.

        Raises PartFailed where the disk is too small, or takes two of the names for one."""
        _make_writable(self.folder)
        self._require_room(files)
        self._require_names(files)
        for folder in folders:
            self._place(folder.path).mkdir(parents=True, exist_ok=True)
        total, done, lock = sum(entry.size for entry in files), 0, Lock()

        def one(entry: FileEntry) -> None:
            nonlocal done
            place = self._place(entry.path)
            place.parent.mkdir(parents=True, exist_ok=True)
            if difference(entry, place, hashed=True, owned=False):
                self._bring(entry, place)
            self._own(entry, place)
            with lock:
                done += entry.size
                self.progress(f"stage {self.folder.name}", done, total, "bytes")

        self.progress(f"stage {self.folder.name}", 0, total, "bytes")
        in_parallel(one, sorted(files, key=lambda entry: -entry.size))
        self._drop_others({*(entry.path for entry in files), *(entry.path for entry in folders)})
        for each in sorted(folders, key=lambda one: one.path.count("/"), reverse=True):
            if each.path != ".":
                self._own(each, self._place(each.path))
        for each in folders:
            if each.path == ".":
                self._own(each, self.folder)
        self.progress(f"stage {self.folder.name}", total, total, "bytes")

    def _place(self, path: str) -> Path:
        return self.folder / decoded_name(path)

    def _bring(self, entry: FileEntry, place: Path) -> None:
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        if entry.link is not None:
            entry = replace(entry, link=decoded_name(entry.link))
        if not self._copied(entry, place):
            self.fetch(entry, place)
        if entry.sparse:
            dig_holes(place)

    def _copied(self, entry: FileEntry, place: Path) -> bool:
        """Whether the live folder had the content."""
        if self.live is None or entry.link is not None:
            return False
        source = self.live / decoded_name(entry.path)
        draft = place.with_name(f".copying-{hashlib.sha256(os.fsencode(place.name)).hexdigest()[:16]}")
        try:
            found = source.lstat()
            if not stat.S_ISREG(found.st_mode):
                return False
            if (found.st_size, found.st_mtime_ns) != (entry.size, entry.mtime_ns):
                return False
            digest = hashlib.sha256()
            with source.open("rb") as reader, draft.open("wb") as writer:
                while chunk := reader.read(_CHUNK):
                    digest.update(chunk)
                    writer.write(chunk)
            if digest.hexdigest() != entry.sha256:
                draft.unlink()
                return False
            draft.replace(place)
        except OSError:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            return False
        return True

    def _own(self, entry: FileEntry | FolderEntry, place: Path) -> None:
        """Owner, then mode (a change of owner takes bits of it away), then time."""
        link = isinstance(entry, FileEntry) and entry.link is not None
        if os.geteuid() == 0 and entry.uid is not None and entry.gid is not None:
            os.chown(place, entry.uid, entry.gid, follow_symlinks=False)
        if link:
            return
        place.chmod(restored_mode(entry))
        if entry.mtime_ns is not None:
            os.utime(place, ns=(entry.mtime_ns, entry.mtime_ns))

    def _require_room(self, files: Sequence[FileEntry]) -> None:
        needed = sum(
            entry.size
            for entry in files
            if difference(entry, self._place(entry.path), hashed=False, owned=False)
        )
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise PartFailed(
                f"{self.folder.parent} has {free} bytes free, the restored volume needs {needed}",
                remedy="free some space there (an old folder that an earlier restore kept?) and try again",
            )

    def _require_names(self, files: Sequence[FileEntry]) -> None:
        """Raise PartFailed where the disk would write one file over another."""
        twins = clashing(entry.path for entry in files)
        if twins is None:
            return
        probe = self.folder / ".ops-Case-probe"
        probe.touch()
        try:
            blind = probe.with_name(probe.name.lower()).exists()
        finally:
            probe.unlink()
        if blind:
            raise PartFailed(
                f"{twins[0]} and {twins[1]} are one file on the disk of {self.folder}",
                remedy="restore to a file system that tells upper from lower case",
            )

    def _drop_others(self, paths: set[str]) -> None:
        wanted = {decoded_name(path) for path in paths}
        wanted |= {str(up) for path in list(wanted) for up in Path(path).parents}
        for base, folders, names in os.walk(self.folder, topdown=False):
            for name in (*names, *folders):
                path = Path(base, name)
                if str(path.relative_to(self.folder)) in wanted:
                    continue
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()


def compare_volume(
    folder: Path, files: Sequence[FileEntry], folders: Sequence[FolderEntry], *, full: bool
) -> list[tuple[str, str]]:
    """(path, what is wrong) for everything in a folder that is not as it should be.

    With `full` all content is hashed; else every file up to 1 MiB and each tenth of the others."""
    large = sorted(entry.path for entry in files if entry.link is None and entry.size > _CHUNK)
    sampled = set(large[::10])
    wrong: list[tuple[str, str]] = []
    for entry in files:
        hashed = full or entry.size <= _CHUNK or entry.path in sampled
        if reason := difference(entry, folder / decoded_name(entry.path), hashed=hashed):
            wrong.append((entry.path, reason))
    found_wrong = (
        (each.path, _folder_difference(each, folder / decoded_name(each.path))) for each in folders
    )
    wrong.extend((path, reason) for path, reason in found_wrong if reason)
    known = {decoded_name(entry.path) for entry in files}
    for base, _, names in os.walk(folder):
        found = (os.path.relpath(os.path.join(base, name), folder) for name in names)
        wrong.extend((ascii(path), "is not in the snapshot") for path in found if path not in known)
    return wrong


def difference(entry: FileEntry, place: Path, *, hashed: bool, owned: bool = True) -> str:
    """What is wrong with a file, or nothing. `owned`: its mode and owner are looked at too."""
    try:
        found = place.lstat()
        if entry.link is not None:
            target = decoded_name(entry.link)
            same = stat.S_ISLNK(found.st_mode) and os.readlink(place) == target
            return "" if same else f"is not the link to {entry.link}"
        if not stat.S_ISREG(found.st_mode):
            return "is no file"
        if found.st_size != entry.size:
            return f"has {found.st_size} bytes of {entry.size}"
        if owned and (reason := _owner_difference(entry, found)):
            return reason
        if hashed:
            with place.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            return "" if digest == entry.sha256 else f"has the digest {digest[:12]}, not {entry.sha256[:12]}"
    except (FileNotFoundError, NotADirectoryError):
        return "is not there"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return ""


def _folder_difference(entry: FolderEntry, place: Path) -> str:
    try:
        found = place.lstat()
    except OSError:
        return "is not there"
    return _owner_difference(entry, found) if stat.S_ISDIR(found.st_mode) else "is no folder"


def _owner_difference(entry: FileEntry | FolderEntry, found: os.stat_result) -> str:
    if stat.S_IMODE(found.st_mode) != restored_mode(entry):
        return f"has the mode {stat.S_IMODE(found.st_mode):o} instead of {restored_mode(entry):o}"
    if os.geteuid() == 0 and entry.uid is not None and (found.st_uid, found.st_gid) != (entry.uid, entry.gid):
        return f"belongs to {found.st_uid}:{found.st_gid} instead of {entry.uid}:{entry.gid}"
    return ""


def restored_mode(entry: FileEntry | FolderEntry) -> int:
    """The mode that is given back: of a file, without setuid and setgid."""
    return entry.mode & (_SETTLED if isinstance(entry, FileEntry) else 0o7777)


def dig_holes(path: Path) -> None:
    """Give the blocks of zeros of a file back to the disk, where it can do that."""
    try:
        fallocate = ctypes.CDLL(None, use_errno=True).fallocate
    except (AttributeError, OSError):
        return
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    with path.open("rb+", buffering=0) as file:
        at = 0
        while chunk := file.read(_HOLE):
            if len(chunk) == _HOLE and not any(chunk) and fallocate(file.fileno(), _PUNCH, at, _HOLE) != 0:
                return
            at += len(chunk)


def _make_writable(folder: Path) -> None:
    """Let an earlier call's folders be written into again."""
    for base, _, _ in os.walk(folder):
        os.chmod(base, 0o700)
