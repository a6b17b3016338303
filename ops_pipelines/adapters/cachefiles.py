"""The inventory of a model cache: walk its folder, read what changed, say what it holds."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

from ops_pipelines.adapters import _cache_index
from ops_pipelines.adapters._cache_read import Progress, Reader
from ops_pipelines.adapters._cache_walk import Walked, walk
from ops_pipelines.policy.cache_layouts import RULES
from ops_pipelines.policy.models import Inventory

log = structlog.get_logger()


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
    reread_days: int = 0,
    defer: bool = False,
    clock: Callable[[], float] = time.time,
    progress: Progress = _silent,
) -> Inventory:
    """Everything in one replica of a cache, with the SHA-256 of each file.

    A file whose size, times and inode are those of the last inventory is not read again: `index` is the file
    that remembers them. `reread` reads all content nevertheless, `reread_days` a share of it such that all is read
    once in so many days: what changed without a write has rotted, and is corrupt from then on. With `defer`, large
    files that are not known and whose names promise their digest are left to whoever stores them (`unread`), who calls
    `remember` when they were right. Links are recorded and
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
    reader = Reader(real, rules, index, reread, reread_days, clock, progress, defer)
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
        again=reader.again,
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
        read_again=reader.again,
        problems=len(inventory.problems),
    )
    return inventory


def remember(index: Path, inventory: Inventory, *, clock: Callable[[], float] = time.time) -> None:
    """Note in the index that the deferred files of an inventory were read and are what their names promise.

    One that is no longer the file that was looked at is left out: the next inventory reads it."""
    deferred = [file for file in inventory.files if file.unread is not None]
    if not deferred:
        return
    known = _cache_index.load(index)
    for file in deferred:
        one = _cache_index.Known(*(file.unread or (0, 0, 0, 0)), sha256=file.sha256, read_at=int(clock()))
        with suppress(OSError):
            if one.unchanged((Path(inventory.root) / file.path).lstat()):
                known[file.path] = one
    _cache_index.save(index, known)
