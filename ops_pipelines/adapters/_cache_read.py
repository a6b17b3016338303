"""Read the files of a cache that are not known, several at once, and remember them."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event, Lock, local

from ops_pipelines.adapters import _cache_index
from ops_pipelines.adapters._cache_index import Known
from ops_pipelines.adapters._cache_walk import Walked, unreadable
from ops_pipelines.policy.cache_layouts import CacheRules
from ops_pipelines.policy.cache_parts import short
from ops_pipelines.policy.cache_share import LastRead, due
from ops_pipelines.policy.models import Seen
from ops_pipelines.policy.plan import Finding

Progress = Callable[[str, int, int | None, str], None]
_CHUNK = 8 << 20
_THREADS = max(1, min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4))
"""hashlib lets other threads run; more than there are processors only costs memory, 8 MiB each."""
_NOTE_SIZE = 16 << 20
"""Notes beyond this size are no manifests."""
_SETTLE_NS = 20_000_000
"""A file that changed this shortly before it was read may change again within one tick of the file system's
clock and look the same. So a scan begins this much later, and what changed since is not remembered."""
_SETTLED_NS = 1_000_000_000
"""A file that changed this shortly ago is read at once: what is found later must be what was looked at now."""
_WORTH_DEFERRING = 1 << 20
_SAVE_EVERY = 8 << 30
"""Bytes after which what was read is saved, so that a killed first inventory of a large cache goes on."""


@dataclass
class Reader:
    """Reads one replica of a cache."""

    root: Path
    rules: CacheRules
    index: Path | None
    reread: bool
    reread_days: int
    clock: Callable[[], float]
    progress: Progress
    defer: bool = False
    known: dict[str, Known] = field(default_factory=dict)
    hashed: int = 0
    again: int = 0
    """Files of `hashed` that had not changed and were read all the same."""
    done: int = 0
    _lock: Lock = field(default_factory=Lock)
    _stop: Event = field(default_factory=Event)
    _buffers: local = field(default_factory=local)

    def __post_init__(self) -> None:
        if self.index is not None:
            self.known = _cache_index.load(self.index)

    def read(self, walked: Walked) -> dict[str, Seen]:
        """Files and links by path, with the digests of what was read now or before. Problems join `walked`."""
        links: dict[str, str | None] = {**dict.fromkeys(walked.files), **walked.links}
        notes = self.rules.notes(links)
        seen = {path: Seen(path, link=target, mode=0o777) for path, target in walked.links.items()}
        current: dict[str, Known] = {}
        same = {
            path: known
            for path, now in walked.files.items()
            if (known := self.known.get(path)) is not None and self._enough(known, path, now, notes)
        }
        again = self._again(same)
        for path, known in same.items():
            current[path] = known
            if path not in again:
                seen[path] = _seen(path, known, walked.files[path])
        if self.defer:
            seen |= self._deferred(walked, seen, again)
        todo = [path for path in walked.files if path not in seen]
        self._read_all(todo, walked, notes, seen, current)
        self.again = sum(path in same for path in todo)
        if self.index is not None and current != self.known:
            _cache_index.save(self.index, current)
        return seen

    def _enough(self, known: Known, path: str, now: os.stat_result, notes: frozenset[str]) -> bool:
        if not known.unchanged(now) or (path in notes and known.text is None and now.st_size <= _NOTE_SIZE):
            return False
        return known.git is not None or not self.rules.wants_git(path, now.st_size)

    def _again(self, same: dict[str, Known]) -> frozenset[str]:
        """Unchanged files that are read all the same: all, or tonight's share and those that had rotted."""
        if self.reread:
            return frozenset(same)
        reads = {path: LastRead(one.size, one.read_at, one.again) for path, one in same.items()}
        share = due(reads, now=self.clock(), days=self.reread_days)
        return share | {path for path, one in same.items() if one.rotten}

    def _deferred(self, walked: Walked, seen: dict[str, Seen], again: frozenset[str]) -> dict[str, Seen]:
        """Large files whose names promise a digest: whoever stores them reads them once, and compares."""
        found: dict[str, Seen] = {}
        settled = time.time_ns() - _SETTLED_NS
        for path, now in walked.files.items():
            promised = self.rules.promised(path)
            known = path in seen or path in again or now.st_ctime_ns >= settled
            if promised and not known and now.st_size >= _WORTH_DEFERRING:
                stamp = (now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino)
                mode = stat.S_IMODE(now.st_mode)
                found[path] = Seen(path, now.st_size, promised, mode=mode, unread=stamp)
        return found

    def _read_all(
        self,
        todo: list[str],
        walked: Walked,
        notes: frozenset[str],
        seen: dict[str, Seen],
        current: dict[str, Known],
    ) -> None:
        total = sum(walked.files[path].st_size for path in todo)
        saved = 0
        newest = max((walked.files[path].st_ctime_ns for path in todo), default=0)
        if 0 <= (age := time.time_ns() - newest) < _SETTLE_NS:
            time.sleep((_SETTLE_NS - age) / 1e9)
        pool = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="cache")
        try:
            # The largest first, so that no thread is left alone with one at the end.
            ordered = sorted(todo, key=lambda path: (-walked.files[path].st_size, path))
            began = {pool.submit(self._read_one, path, total, path in notes): path for path in ordered}
            for future in as_completed(began):
                path = began[future]
                read = _result(path, future, walked)
                if read is None:
                    current.pop(path, None)
                    continue
                self._remember(path, *read, seen, current)
                if self.index is not None and self.done - saved >= _SAVE_EVERY:
                    saved = self.done
                    _cache_index.save(self.index, {**self.known, **current})
        finally:
            self._stop.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def _remember(
        self,
        path: str,
        read: Known,
        now: os.stat_result,
        began: int,
        seen: dict[str, Seen],
        current: dict[str, Known],
    ) -> None:
        self.hashed += 1
        before = self.known.get(path)
        at = int(self.clock())
        if before is None or not before.unchanged(now):
            seen[path] = _seen(path, read, now)
            if read.ctime_ns <= began - _SETTLE_NS:
                current[path] = replace(read, read_at=at)
        elif before.sha256 == read.sha256:
            seen[path] = _seen(path, read, now)
            current[path] = replace(read, read_at=at, again=True)
        else:
            fault = (
                f"its content changed although nothing wrote to it (it was {short(before.sha256)}..., it is "
                f"{short(read.sha256)}...): the disk or its memory is at fault"
            )
            seen[path] = replace(_seen(path, read, now), fault=fault)
            current[path] = replace(before, rotten=read.sha256, read_at=at, again=True)

    def _read_one(self, path: str, total: int, note: bool) -> tuple[Known, os.stat_result, int]:
        began = time.time_ns()
        # O_NONBLOCK: a pipe that took the file's place must not hold the inventory up.
        handle = os.open(self.root / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb", buffering=0) as file:
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                raise ChangedError
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
            sha = hashlib.sha256()
            git = None
            if self.rules.wants_git(path, before.st_size):
                git = hashlib.sha1(f"blob {before.st_size}\0".encode(), usedforsecurity=False)
            kept = bytearray()
            left = before.st_size
            buffer = self._buffer()
            while (count := file.readinto(buffer)) and not self._stop.is_set():
                left -= count
                if left < 0:
                    raise ChangedError  # it grows, perhaps for ever
                piece = buffer[:count]
                sha.update(piece)
                if git is not None:
                    git.update(piece)
                if note and before.st_size <= _NOTE_SIZE:
                    kept += piece
                with self._lock:
                    self.done += count
                    self.progress(f"read {path}", self.done, total, "bytes")
            now = os.fstat(file.fileno())
        if left or (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise ChangedError
        text = kept.decode("utf-8", "replace") if note and before.st_size <= _NOTE_SIZE else None
        known = Known(
            size=now.st_size,
            mtime_ns=now.st_mtime_ns,
            ctime_ns=now.st_ctime_ns,
            inode=now.st_ino,
            sha256=sha.hexdigest(),
            git=None if git is None else git.hexdigest(),
            text=text,
        )
        return known, now, began

    def _buffer(self) -> memoryview:
        """Eight MiB of each thread's own."""
        if not hasattr(self._buffers, "view"):
            self._buffers.view = memoryview(bytearray(_CHUNK))
        view: memoryview = self._buffers.view
        return view


class ChangedError(Exception):
    """A file changed while it was read."""


def _result(
    path: str, future: Future[tuple[Known, os.stat_result, int]], walked: Walked
) -> tuple[Known, os.stat_result, int] | None:
    """What was read of a file, or None where that is a problem, or the file is gone."""
    try:
        return future.result()
    except FileNotFoundError:
        return None
    except ChangedError:
        walked.problems.append(_changing(path))
    except OSError as error:
        walked.problems.append(unreadable(path, error))
    return None


def _seen(path: str, known: Known, now: os.stat_result) -> Seen:
    mode = stat.S_IMODE(now.st_mode)
    return Seen(path, known.size, known.sha256, git=known.git, mode=mode, text=known.text)


def _changing(path: str) -> Finding:
    return Finding(
        subject=path,
        ok=None,
        message=f"{path} changed while it was read",
        remedy="try again when what writes it is done",
    )
