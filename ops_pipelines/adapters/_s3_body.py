"""A stretch of a file as the body of a request: read in large blocks, counted, and checked where it must be."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable

from ops_pipelines.adapters._s3_rate import Rate

BLOCK = 1 << 20
"""Bytes of one read and one write. An HTTP library asks for 16 KiB at a time, which costs twice the CPU."""


class AlteredError(Exception):
    """The file no longer holds what was promised; the request that carried it was broken off."""


class FileBody(io.RawIOBase):
    """`size` bytes of an open file from `start`, for boto3.

    Its last block is given away only when all of it has the SHA-256 `expected` (None: not hashed here, as the store
    does it). A request whose body ends too early is never taken for whole. `progress` gets bytes as they go, and
    negative ones where a request is repeated."""

    def __init__(
        self, handle: int, start: int, size: int, *,
        expected: str | None, progress: Callable[[int], None], rate: Rate,
    ) -> None:  # fmt: skip
        super().__init__()
        self._handle = handle
        self._start = start
        self._size = size
        self._expected = expected
        self._progress = progress
        self._rate = rate
        self._done = 0
        self._digest = hashlib.sha256()
        self.altered = False

    def __len__(self) -> int:
        return self._size

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is, to its begin."""
        return True

    def tell(self) -> int:
        """Bytes given so far."""
        return self._done

    def seek(self, offset: int, whence: int = 0) -> int:
        """Back to its begin, for a request that is repeated; or to where it is, or its end, for its length."""
        if self.altered:  # which ends the library's own repeating
            raise io.UnsupportedOperation("the file was altered")
        target = offset + {0: 0, 1: self._done, 2: self._size}[whence]
        if target == 0 and self._done:
            self._progress(-self._done)
            self._digest = hashlib.sha256()
        self._done = target
        return target

    def read(self, size: int = -1) -> bytes:  # noqa: ARG002 - the caller's wish is for far smaller blocks
        """The next block. Raises AlteredError where the file is shorter, or other than was promised."""
        wanted = min(BLOCK, self._size - self._done)
        if wanted <= 0:
            return b""
        block = os.pread(self._handle, wanted, self._start + self._done)
        if len(block) < wanted:
            self._fail("the file became shorter")
        if self._expected is not None:
            self._digest.update(block)
            if self._done + wanted == self._size and self._digest.hexdigest() != self._expected:
                self._fail("its content is another one")
        self._rate.take(wanted)
        self._done += wanted
        self._progress(wanted)
        return block

    def _fail(self, why: str) -> None:
        self.altered = True
        raise AlteredError(why)
