"""The inventory of a model cache: walk its folder, read what changed, say what it holds."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from ops_pipelines.adapters import _cache_index
from ops_pipelines.adapters._cache_index import Known
from ops_pipelines.adapters._cache_walk import Walked, unreadable, walk
from ops_pipelines.policy.cache_layouts import RULES, CacheRules
from ops_pipelines.policy.models import Inventory, Seen
from ops_pipelines.policy.plan import Finding

log = structlog.get_logger()

Progress = Callable[[str, int, int | None, str], None]
_CHUNK = 1 << 20
_NOTE_SIZE = 16 << 20
"""Notes beyond this size are no manifests."""
_SETTLE_NS = 20_000_000
"""A file that changed this shortly before it was read may change again within one tick of the file system's
clock and look the same. So a scan begins this much later, and what changed since is not remembered."""
_SAVE_EVERY = 8 << 30
"""Bytes after which what was read is saved, so that a killed first inventory of a large cache goes on."""


def _silent(step: str, done: int, total: int | None, unit: str) -> None:
    """Says nothing."""


def scan(
    root: Path,
    layout: str,
    *,
    cache: str = "",
    replica: int = 0,
    index: Path | None = None,
    reread: bool = False,
    progress: Progress = _silent,
) -> Inventory:
    """Everything in one replica of a cache, with the SHA-256 of each file.

    A file whose size, times and inode are those of the last inventory is not read again: `index` is the file
    that remembers them (`reread` reads all content nevertheless, which finds silent rot). Links are recorded and
    never followed. What cannot be read, leaves the folder or has a name that is no text is a problem of the
    inventory, not an error of it. `progress` gets bytes.
    """
    rules = RULES[layout]
    real = root.resolve()
    exists = real.is_dir()
    walked = walk(real, root, free_names=layout == "directory") if exists else Walked()
    roles = {path: rules.role(path) for path in (*walked.files, *walked.links)}
    partial = tuple(sorted(path for path, role in roles.items() if role == "partial"))
    for path, role in roles.items():
        if role != "content":
            walked.files.pop(path, None)
            walked.links.pop(path, None)
    reader = _Reader(real, rules, {} if index is None else _cache_index.load(index), index, reread, progress)
    seen = reader.read(walked)
    assembled = rules.assemble(seen, partial)
    inventory = Inventory(
        cache=cache,
        replica=replica,
        layout=layout,
        root=str(real),
        files=assembled.files,
        models=assembled.models,
        partial=partial,
        hashed=reader.hashed,
        problems=(*walked.problems, *assembled.problems),
        exists=exists,
    )
    log.info(
        "cache scanned",
        cache=cache,
        replica=replica,
        files=len(inventory.files),
        models=len(inventory.models),
        bytes=inventory.size,
        read=reader.hashed,
        problems=len(inventory.problems),
    )
    return inventory


@dataclass
class _Reader:
    """Reads the files that are not known, and remembers them."""

    root: Path
    rules: CacheRules
    known: dict[str, Known]
    index: Path | None
    reread: bool
    progress: Progress
    hashed: int = 0
    done: int = 0

    def read(self, walked: Walked) -> dict[str, Seen]:
        links: dict[str, str | None] = {**dict.fromkeys(walked.files), **walked.links}
        notes = self.rules.notes(links)
        seen = {path: Seen(path, link=target, mode=0o777) for path, target in walked.links.items()}
        current: dict[str, Known] = {}
        todo: list[str] = []
        for path, now in walked.files.items():
            known = self.known.get(path)
            if known is not None and not self.reread and self._enough(known, path, now, notes):
                current[path] = known
                seen[path] = _seen(path, known, now)
            else:
                todo.append(path)
        self._read_all(todo, walked, notes, seen, current)
        if self.index is not None and current != self.known:
            _cache_index.save(self.index, current)
        return seen

    def _enough(self, known: Known, path: str, now: os.stat_result, notes: frozenset[str]) -> bool:
        if not known.unchanged(now) or (path in notes and known.text is None and now.st_size <= _NOTE_SIZE):
            return False
        return known.git is not None or not self.rules.wants_git(path, now.st_size)

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
        for path in sorted(todo):
            began = time.time_ns()
            try:
                known, now = self._read_one(path, total, path in notes)
            except FileNotFoundError:
                continue
            except _ChangedError:
                walked.problems.append(_changing(path))
                continue
            except OSError as error:
                walked.problems.append(unreadable(path, error))
                continue
            self.hashed += 1
            seen[path] = _seen(path, known, now)
            if known.ctime_ns <= began - _SETTLE_NS:
                current[path] = known
            if self.index is not None and self.done - saved >= _SAVE_EVERY:
                saved = self.done
                _cache_index.save(self.index, {**self.known, **current})

    def _read_one(self, path: str, total: int, note: bool) -> tuple[Known, os.stat_result]:
        # O_NONBLOCK: a pipe that took the file's place must not hold the inventory up.
        handle = os.open(self.root / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb", buffering=0) as file:
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                raise _ChangedError
            sha = hashlib.sha256()
            git = None
            if self.rules.wants_git(path, before.st_size):
                git = hashlib.sha1(f"blob {before.st_size}\0".encode(), usedforsecurity=False)
            kept = bytearray()
            left = before.st_size
            while chunk := file.read(_CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise _ChangedError  # it grows, perhaps for ever
                sha.update(chunk)
                if git is not None:
                    git.update(chunk)
                if note and before.st_size <= _NOTE_SIZE:
                    kept += chunk
                self.done += len(chunk)
                self.progress(f"read {path}", self.done, total, "bytes")
            now = os.fstat(file.fileno())
        if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise _ChangedError
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
        return known, now


class _ChangedError(Exception):
    """A file changed while it was read."""


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
