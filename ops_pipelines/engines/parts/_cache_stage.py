"""Put the files of a model cache into a new folder: what is here already is used, the rest is fetched."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from threading import Lock

from ops_pipelines.engines._blobs import disk_error, in_parallel
from ops_pipelines.engines.ports import Fetch, Progress
from ops_pipelines.errors import PartFailed
from ops_pipelines.policy.cache_layouts import RULES
from ops_pipelines.policy.manifest import FileEntry, safe_path
from ops_pipelines.policy.models import Inventory

_CHUNK = 1 << 20
_FICLONE = 0x40049409
"""_IOW(0x94, 9, int) of linux/fs.h."""
_WORTH_COPYING = 1 << 16
"""Bytes below which a file is fetched rather than looked for on this disk."""


@dataclass
class Donors:
    """Content that lies on this machine already, by digest."""

    linkable: dict[str, Path] = field(default_factory=dict)
    """Files that nobody writes into, as their name is their digest: a hard link is as good as a copy."""
    copyable: dict[str, Path] = field(default_factory=dict)
    """Files that may be written into later: copied, and hashed on the way."""

    @classmethod
    def of(cls, inventory: Inventory) -> Donors:
        """What a live cache can give, under the digests that its content was found to have."""
        donors = cls()
        for file in inventory.files:
            if file.link is None and file.size >= _WORTH_COPYING:
                path = Path(inventory.root) / file.path
                (donors.linkable if file.immutable else donors.copyable).setdefault(file.sha256, path)
        return donors

    def add_copies(self, folder: Path, entries: Iterable[FileEntry]) -> None:
        """Let files that were brought to another folder be copied from there."""
        for entry in entries:
            if entry.link is None and entry.size >= _WORTH_COPYING:
                self.copyable.setdefault(entry.sha256, folder / safe_path(entry.path))

    def has(self, digest: str) -> bool:
        """Whether the content need not be fetched."""
        return digest in self.linkable or digest in self.copyable


@dataclass(frozen=True)
class Stager:
    """Fills one folder."""

    folder: Path
    donors: Donors
    fetch: Fetch
    progress: Progress
    owner: tuple[int, int] | None
    """(uid, gid) that files are given, where this process may."""

    def fill(self, layout: str, entries: Sequence[FileEntry], *, spare: str = "") -> None:
        """Bring all entries into the folder, content before what makes a model of it, and drop what else is
        there, but for the path `spare`. What an earlier call brought stays. Raises PartFailed where the disk is
        too small."""
        ordered = in_order(layout, entries)
        self.require_space([entry for entry in ordered if not self._is_there(entry)])
        rank = RULES[layout].order
        self.bring_all([list(group) for _, group in groupby(ordered, key=lambda entry: rank(entry.path))])
        self._drop_others({spare, *(entry.path for entry in ordered)})

    def bring_all(self, groups: Sequence[Sequence[FileEntry]]) -> None:
        """Bring what is not there: several files of a group at once, one group after the other.

        Content that a group needs twice is fetched once and then copied."""
        total, done, lock = sum(entry.size for group in groups for entry in group), 0, Lock()

        def one(entry: FileEntry) -> None:
            nonlocal done
            target = self.folder / safe_path(entry.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            if not self._is_there(entry):
                self.bring(entry, target)
            self.own(target, entry)
            if entry.link is None and entry.size >= _WORTH_COPYING:
                self.donors.copyable.setdefault(entry.sha256, target)
            with lock:
                done += entry.size
                self.progress(f"stage {self.folder.name}", done, total, "bytes")

        self.progress(f"stage {self.folder.name}", 0, total, "bytes")
        for group in groups:
            first = {entry.sha256 or entry.path: entry for entry in reversed(group)}
            again = [entry for entry in group if first[entry.sha256 or entry.path] is not entry]
            largest_first = sorted(first.values(), key=lambda entry: (-entry.size, entry.path))
            in_parallel(one, largest_first)
            in_parallel(one, again)

    def _is_there(self, entry: FileEntry) -> bool:
        """Whether an earlier call brought it: a file has its name only when it is whole."""
        target = self.folder / safe_path(entry.path)
        try:
            found = target.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        if entry.link is not None:
            return stat.S_ISLNK(found.st_mode) and os.readlink(target) == entry.link
        return stat.S_ISREG(found.st_mode) and found.st_size == entry.size

    def bring(self, entry: FileEntry, target: Path) -> None:
        """Put one file or link in its place, in one step: linked or copied from a donor, else fetched."""
        temporary = target.with_name(f".staging-{hashlib.sha256(target.name.encode()).hexdigest()[:16]}")
        temporary.unlink(missing_ok=True)
        if entry.link is not None:
            temporary.symlink_to(entry.link)
        elif not self._link(entry, temporary) and not self._copy(entry, temporary):
            self.fetch(entry, target)
            return
        temporary.replace(target)

    def _link(self, entry: FileEntry, temporary: Path) -> bool:
        source = self.donors.linkable.get(entry.sha256)
        if source is None:
            return False
        try:
            found = source.lstat()
            if found.st_size != entry.size or stat.S_IMODE(found.st_mode) & 0o777 != entry.mode & 0o777:
                return False
            os.link(source, temporary, follow_symlinks=False)
        except OSError:
            return False  # another file system, or gone
        return True

    def _copy(self, entry: FileEntry, temporary: Path) -> bool:
        source = self.donors.copyable.get(entry.sha256) or self.donors.linkable.get(entry.sha256)
        if source is None:
            return False
        try:
            digest = _clone(source, temporary) or _copied(source, temporary)
        except OSError:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            return False
        if digest != entry.sha256:
            temporary.unlink()
            return False
        temporary.chmod(entry.mode & 0o777)
        return True

    def own(self, target: Path, entry: FileEntry) -> None:
        """Give what was brought, and the folders that it lies in, its mode and owner."""
        found = target.lstat()
        if entry.link is None and stat.S_IMODE(found.st_mode) != entry.mode & 0o777:
            target.chmod(entry.mode & 0o777)
        if self.owner is not None and (found.st_uid, found.st_gid) != self.owner:
            os.chown(target, *self.owner, follow_symlinks=False)
            for parent in target.parents:
                if parent == self.folder.parent:
                    break
                os.chown(parent, *self.owner)

    def require_space(self, entries: Sequence[FileEntry]) -> None:
        """Raise PartFailed where the disk is too small for what is not here yet."""
        linked = self.donors.linkable
        needed = sum(entry.size for entry in entries if entry.link is None and entry.sha256 not in linked)
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise PartFailed(
                f"{self.folder.parent} has {free} bytes free, the restored cache needs {needed}",
                remedy="free some space there (an old folder that an earlier restore kept?) and try again",
            )

    def _drop_others(self, paths: set[str]) -> None:
        for folder, _, names in os.walk(self.folder):
            for name in names:
                path = Path(folder) / name
                if path.relative_to(self.folder).as_posix() not in paths:
                    path.unlink()


def _clone(source: Path, target: Path) -> str:
    """Let a file share another one's blocks until one of them is written to (XFS, Btrfs), and return its digest.

    Returns nothing where the file system cannot. A clone is read once and not written."""
    with source.open("rb") as reader, target.open("w+b") as clone:
        try:
            fcntl.ioctl(clone.fileno(), _FICLONE, reader.fileno())
        except OSError:
            return ""
        return hashlib.file_digest(clone, "sha256").hexdigest()


def _copied(source: Path, target: Path) -> str:
    """Copy a file and return the digest of what was copied."""
    digest = hashlib.sha256()
    with source.open("rb") as reader, target.open("wb") as writer:
        while chunk := reader.read(_CHUNK):
            digest.update(chunk)
            writer.write(chunk)
    return digest.hexdigest()


@contextmanager
def disk_errors(path: Path, size: int = 0) -> Iterator[None]:
    """Errors of the system while `size` bytes are written at `path`, in words. Raises PartFailed."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, path, size) from error


def in_order(layout: str, entries: Sequence[FileEntry]) -> list[FileEntry]:
    """Entries in the order in which they are put back: a server that starts too early finds no model."""
    rank: Callable[[str], int] = RULES[layout].order
    return sorted(entries, key=lambda entry: (rank(entry.path), entry.link is not None, entry.path))


def owner_of(live: Path | None) -> tuple[int, int] | None:
    """Whose the live folder is, where this process may give files to others."""
    if live is None or os.geteuid() != 0:
        return None
    try:
        found = live.stat()
    except FileNotFoundError:
        return None
    return (found.st_uid, found.st_gid)


def compare(folder: Path, entries: Sequence[FileEntry], *, full: bool) -> list[tuple[str, str]]:
    """(path, what is wrong) for everything in a folder that is not as the entries say.

    With `full` all content is hashed; else every file up to 1 MiB and each tenth of the others."""
    large = sorted(entry.path for entry in entries if entry.link is None and entry.size > _CHUNK)
    sampled = set(large[::10])
    wrong: list[tuple[str, str]] = []
    for entry in entries:
        path = folder / safe_path(entry.path)
        hashed = full or entry.size <= _CHUNK or entry.path in sampled
        if reason := _difference(entry, path, hashed=hashed):
            wrong.append((entry.path, reason))
    known: Mapping[str, FileEntry] = {entry.path: entry for entry in entries}
    for base, _, names in os.walk(folder):
        found = (Path(base, name).relative_to(folder).as_posix() for name in names)
        wrong.extend((path, "is not in the snapshot") for path in found if path not in known)
    return wrong


def _difference(entry: FileEntry, path: Path, *, hashed: bool) -> str:
    try:
        found = path.lstat()
        if entry.link is not None:
            same = stat.S_ISLNK(found.st_mode) and os.readlink(path) == entry.link
            return "" if same else f"is not the link to {entry.link}"
        if not stat.S_ISREG(found.st_mode):
            return "is no file"
        if found.st_size != entry.size:
            return f"has {found.st_size} bytes of {entry.size}"
        if stat.S_IMODE(found.st_mode) != entry.mode & 0o777:
            return f"has the mode {stat.S_IMODE(found.st_mode):o} instead of {entry.mode & 0o777:o}"
        if hashed:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            return "" if digest == entry.sha256 else f"has the digest {digest[:12]}, not {entry.sha256[:12]}"
    except (FileNotFoundError, NotADirectoryError):
        return "is not there"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return ""
