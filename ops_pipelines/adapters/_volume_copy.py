"""Read a file once, into its digest and, where asked, into a copy that nobody writes to."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from pathlib import Path

_CHUNK = 1 << 20
_CLONE = 0x40049409
"""FICLONE of linux/fs.h: the copy shares the file's blocks, and is of one moment."""


def copy_and_hash(
    file: FileIO, size: int, copy: Path | None, moved: Callable[[int], None]
) -> tuple[str, int, bool]:
    """SHA-256 of the first `size` bytes, how many there were, and whether `copy` holds them now.

    A copy is not made where the disk has no room for it. `moved` gets bytes."""
    if copy is None or shutil.disk_usage(copy.parent).free < 2 * size:
        return (*_hash(file, size, None, moved), False)
    with copy.open("xb+", buffering=0) as writer:
        with suppress(OSError):
            fcntl.ioctl(writer.fileno(), _CLONE, file.fileno())
            writer.truncate(size) if writer.seek(0, os.SEEK_END) > size else None
            writer.seek(0)
            return (*_hash(writer, size, None, moved), True)
        writer.seek(0)
        return (*_hash(file, size, writer, moved), True)


def prefix_digest(file: FileIO, size: int) -> str:
    """SHA-256 of a file's first bytes, read again."""
    return _hash(file, size, None, lambda _: None)[0]


def _hash(file: FileIO, size: int, writer: FileIO | None, moved: Callable[[int], None]) -> tuple[str, int]:
    file.seek(0)
    digest, done = hashlib.sha256(), 0
    while done < size and (chunk := file.read(min(_CHUNK, size - done))):
        digest.update(chunk)
        if writer is not None:
            _write(writer, chunk)
        done += len(chunk)
        moved(len(chunk))
    if writer is not None:
        writer.truncate(done)
    return digest.hexdigest(), done


def _write(writer: FileIO, chunk: bytes) -> None:
    if chunk.count(0) == len(chunk):
        writer.seek(len(chunk), os.SEEK_CUR)  # a hole: a sparse file's copy is sparse
        return
    view = memoryview(chunk)
    while view:
        view = view[writer.write(view) :]
