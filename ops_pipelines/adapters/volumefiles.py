"""Read a volume: every file hashed once, what is written meanwhile caught, and nothing left out in silence.

The folder is walked again after each round of reading, until nothing in it has changed since it was read, three
rounds at most. A file that was written lately may be written again before its bytes are stored: it is copied to
the scratch folder, and the copy is what is stored.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import structlog

from ops_pipelines.adapters import _cache_index
from ops_pipelines.adapters._cache_index import Known
from ops_pipelines.adapters._volume_copy import copy_and_hash, prefix_digest
from ops_pipelines.adapters._volume_walk import VolumeWalk, walk_volume
from ops_pipelines.policy.cache_parts import short
from ops_pipelines.policy.cache_share import LastRead, due
from ops_pipelines.policy.manifest import FileEntry, FolderEntry
from ops_pipelines.policy.paths import coded_name
from ops_pipelines.policy.volumes import VolumeFile, VolumeReading, patterns

log = structlog.get_logger()

Progress = Callable[[str, int, int | None, str], None]
ROUNDS = 3
HOT_NS = 600 * 10**9
"""A file written within the last ten minutes is copied before it is stored."""
_SETTLE_NS = 20_000_000
"""A file that changed this shortly before it was read may change again and look the same (the file system's
clock ticks): it is read again the next time."""


def read_volume(
    root: Path,
    scratch: Path,
    *,
    exclude: Sequence[str] = (),
    changing: Literal["fail", "fuzzy"] = "fail",
    index: Path | None = None,
    reread_days: int = 0,
    clock: Callable[[], float] = time.time,
    progress: Progress,
) -> VolumeReading:
    """Everything in one folder, with the SHA-256 of each file. Links are recorded and never followed.

    `index` remembers what was read: a file whose size, times and inode are the same is not read again, but for a share
    of them such that all are read once in `reread_days` (0: never): what changed without a write has rotted. Copies
    of files that change go below `scratch`. What cannot be read is told in the reading, not raised."""
    real = root.resolve()
    if not real.is_dir():
        return VolumeReading(str(real), exists=False)
    known = {} if index is None else _cache_index.load(index)
    reader = _Reader(real, scratch, changing, known, progress, clock)
    left_out = patterns(exclude)
    walk = walk_volume(real, root, left_out)
    reader.choose_again(walk, reread_days)
    for number in range(ROUNDS):
        reader.read(walk, last=number == ROUNDS - 1)
        walk = walk_volume(real, root, left_out)
        if reader.settled(walk):
            break
    if index is not None and reader.memory != known:
        _cache_index.save(index, reader.memory)
    reading = reader.reading(walk)
    log.info("volume read", folder=str(real), files=len(reading.files), bytes=reading.size, read=reading.hashed,
             read_again=reading.again, unreadable=len(reading.unreadable), changing=len(reading.unsettled),
             rotten=len(reading.rotten))  # fmt: skip
    return reading


@dataclass
class _Reader:
    root: Path
    scratch: Path
    changing: str
    known: dict[str, Known]
    progress: Progress
    clock: Callable[[], float]
    again: set[str] = field(default_factory=set)
    """Unchanged files that are still to be read all the same."""
    rotten: dict[str, str] = field(default_factory=dict)
    have: dict[str, tuple[Known, Path]] = field(default_factory=dict)
    """What is known of each file by now, and where its bytes lie."""
    memory: dict[str, Known] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    unsettled: set[str] = field(default_factory=set)
    fuzzy: set[str] = field(default_factory=set)
    grown: set[str] = field(default_factory=set)
    hashed: int = 0
    reread: int = 0
    done: int = 0
    copies: int = 0

    def choose_again(self, walk: VolumeWalk, days: int) -> None:
        """Unchanged files that are read all the same: tonight's share, and those that had rotted."""
        same = {
            path: known
            for path, now in walk.files.items()
            if (known := self.known.get(path)) is not None and known.unchanged(now)
        }
        reads = {path: LastRead(one.size, one.read_at, one.again) for path, one in same.items()}
        share = due(reads, now=self.clock(), days=days)
        self.again = {*share, *(path for path, one in same.items() if one.rotten)}

    def read(self, walk: VolumeWalk, *, last: bool) -> None:
        """Read what is not known as it is now."""
        todo = [path for path, now in walk.files.items() if not self._is_known(path, now)]
        total = self.done + sum(walk.files[path].st_size for path in todo)
        for path in sorted(todo):
            self._forget(path)
            try:
                self._read_one(path, total, last=last)
            except FileNotFoundError:
                continue
            except OSError as error:
                self.unreadable[path] = f"{coded_name(path)}: {error.strerror or error}"

    def settled(self, walk: VolumeWalk) -> bool:
        """Whether all that is there now was read as it is now. What will not settle does not count."""
        accepted = {*self.unreadable, *self.fuzzy, *self.grown}
        return all(path in accepted or self._is_known(path, now) for path, now in walk.files.items())

    def _is_known(self, path: str, now: os.stat_result) -> bool:
        if path in self.have:
            return self.have[path][0].unchanged(now)
        known = self.known.get(path)
        if known is None or not known.unchanged(now) or path in self.again:
            return False
        self.have[path] = (known, self.root / path)
        self.memory[path] = known
        return True

    def _forget(self, path: str) -> None:
        self.unreadable.pop(path, None)
        self.have.pop(path, None)
        self.memory.pop(path, None)
        self.rotten.pop(path, None)
        for names in (self.unsettled, self.fuzzy, self.grown):
            names.discard(path)

    def _read_one(self, path: str, total: int, *, last: bool) -> None:
        began = time.time_ns()
        # O_NONBLOCK: a pipe that took the file's place must not hold the reading up.
        handle = os.open(self.root / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb", buffering=0) as file:
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                return
            hot = last or began - max(before.st_mtime_ns, before.st_ctime_ns) < HOT_NS
            copy = self._copy_path() if hot else None

            def moved(count: int) -> None:
                self.done += count
                self.progress(f"read {coded_name(path)}", self.done, total, "bytes")

            digest, size, copied = copy_and_hash(file, before.st_size, copy, moved)
            self.hashed += 1
            now = os.fstat(file.fileno())
            source = self.root / path if copy is None or not copied else copy
            if (now.st_size, now.st_mtime_ns) != (
                before.st_size,
                before.st_mtime_ns,
            ) or size != before.st_size:
                grown = size == before.st_size and now.st_size > size and copied
                if grown and prefix_digest(file, size) == digest:
                    self.grown.add(path)
                elif not last:
                    return  # the next round reads it again
                elif self.changing == "fuzzy" and copied:
                    self.fuzzy.add(path)
                else:
                    self.unsettled.add(path)
                    return
        seen = Known(size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino, digest, read_at=int(self.clock()))
        self.have[path] = (seen, source)
        if path in self.again:
            self._compare(path, seen, now)
        elif now.st_ctime_ns <= began - _SETTLE_NS and path not in self.grown | self.fuzzy:
            self.memory[path] = seen

    def _compare(self, path: str, seen: Known, now: os.stat_result) -> None:
        """A file that was read without need: whether it still is what it was."""
        self.again.discard(path)
        self.reread += 1
        before = self.known[path]
        if not before.unchanged(now):  # written meanwhile: the next reading remembers it
            return
        if before.sha256 == seen.sha256:
            self.memory[path] = replace(seen, again=True)
            return
        self.memory[path] = replace(before, rotten=seen.sha256, read_at=seen.read_at, again=True)
        self.rotten[path] = (
            f"{coded_name(path)} (it was {short(before.sha256)}..., it is {short(seen.sha256)}...)"
        )

    def _copy_path(self) -> Path:
        self.copies += 1
        return self.scratch / f"copy-{self.copies}"

    def _take_renamed(self, late: Sequence[str], walk: VolumeWalk) -> None:
        """Files that were read under another name: a log that was turned over."""
        read = {
            (known.inode, known.size, known.mtime_ns): each
            for each in self.have.values()
            for known in each[:1]
        }
        for path in late:
            now = walk.files[path]
            if each := read.get((now.st_ino, now.st_size, now.st_mtime_ns)):
                source = each[1] if each[1].parent == self.scratch else self.root / path
                self.have[path] = (each[0], source)

    def _changed_in_place(self, path: str, now: os.stat_result) -> bool:
        """Whether a file that is to be stored from where it lies is no longer the one that was read."""
        if path not in self.have or path in self.unsettled:
            return False
        known, source = self.have[path]
        same = (now.st_size, now.st_mtime_ns) == (known.size, known.mtime_ns)
        return source.parent != self.scratch and not same

    def reading(self, walk: VolumeWalk) -> VolumeReading:
        """What was found, and what became of it."""
        late = [path for path in walk.files if path not in self.have and path not in self.unreadable]
        self._take_renamed(late, walk)
        changed = {path for path in walk.files if self._changed_in_place(path, walk.files[path])}
        files = [
            VolumeFile(_entry(path, now, self.have[path][0]), self.have[path][1])
            for path, now in walk.files.items() if path in self.have and path not in changed
        ]  # fmt: skip
        files += [VolumeFile(_link(path, target, now), None) for path, (target, now) in walk.links.items()]
        return VolumeReading(
            root=str(self.root),
            exists=True,
            files=tuple(sorted(files, key=lambda one: one.entry.path)),
            folders=tuple(
                sorted((_folder(*each) for each in walk.folders.items()), key=lambda one: one.path)
            ),
            unreadable=tuple(sorted({*walk.unreadable, *self.unreadable.values()})),
            unsettled=tuple(sorted(map(coded_name, (self.unsettled & walk.files.keys()) | changed))),
            appeared=tuple(
                coded_name(path) for path in late if path not in self.have and path not in self.unsettled
            ),
            fuzzy=tuple(sorted(map(coded_name, self.fuzzy & walk.files.keys()))),
            grown=tuple(sorted(map(coded_name, self.grown & walk.files.keys()))),
            outside=tuple(sorted(walk.outside)),
            special=tuple(sorted(walk.special)),
            attributes=tuple(sorted(walk.attributes)),
            rotten=tuple(self.rotten[path] for path in sorted(self.rotten) if path in walk.files),
            excluded=walk.excluded,
            hashed=self.hashed,
            again=self.reread,
        )


def _entry(path: str, now: os.stat_result, known: Known) -> FileEntry:
    return FileEntry(
        path=coded_name(path),
        size=known.size,
        sha256=known.sha256,
        mode=stat.S_IMODE(now.st_mode),
        uid=now.st_uid,
        gid=now.st_gid,
        mtime_ns=known.mtime_ns,
        sparse=now.st_blocks * 512 < now.st_size,
    )


def _link(path: str, target: str, now: os.stat_result) -> FileEntry:
    return FileEntry(coded_name(path), 0, "", 0o777, coded_name(target), now.st_uid, now.st_gid)


def _folder(path: str, now: os.stat_result) -> FolderEntry:
    return FolderEntry(coded_name(path), stat.S_IMODE(now.st_mode), now.st_uid, now.st_gid, now.st_mtime_ns)
