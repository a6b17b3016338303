"""An object store in memory, with the conditional writes of a real one and a clock that a test moves.

`test_memory_store.py` holds it against SeaweedFS. `Dying` is a process that is killed at one of its requests: that
request is done or not, and nothing that the process does afterwards reaches the store.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ops_pipelines.errors import ChecksumMismatch, ObjectMissing, PreconditionFailed
from ops_pipelines.policy.store import ObjectInfo

_PIECE = 4096


class Killed(BaseException):
    """The process is no more. Nothing catches it but the test."""


@dataclass
class MemoryStore:
    """Protocol ObjectStore."""

    objects: dict[str, tuple[bytes, str, datetime]] = field(default_factory=dict)
    clock: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    writes: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)
    name: str = "s3://memory"

    def move(self, by: timedelta) -> None:
        self.clock += by

    def put(self, key: str, body: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        with self.lock:
            there = self.objects.get(key)
            if (if_absent and there) or (if_match is not None and (there is None or there[1] != if_match)):
                raise PreconditionFailed(f"{key} is not as it was expected", remedy="")
            self.writes += 1
            etag = f"{hashlib.md5(body, usedforsecurity=False).hexdigest()}-{self.writes}"
            self.objects[key] = (bytes(body), etag, self.clock.replace(microsecond=0))
            return etag

    def put_file(self, key: str, path: Path, *, sha256: str, progress: Callable[[int], None]) -> None:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ChecksumMismatch(f"{path} is not {sha256}", remedy="")
        self.put(key, content)
        progress(len(content))

    def get(self, key: str) -> tuple[bytes, str]:
        with self.lock:
            if key not in self.objects:
                raise ObjectMissing(f"{key} is not there", remedy="")
            return self.objects[key][:2]

    def look(self, key: str) -> tuple[bytes, ObjectInfo]:
        with self.lock:
            content, _ = self.get(key)
            info = self.head(key)
            assert info is not None
            return content, info

    def stream(self, key: str) -> Iterator[bytes]:
        content, _ = self.get(key)
        return iter([content] if content else [])

    def pieces(self, key: str, size: int) -> Iterator[memoryview]:  # noqa: ARG002 - as a real one's
        """In one buffer, as the real one's: whoever keeps a piece finds another in its place."""
        content, _ = self.get(key)
        buffer = memoryview(bytearray(_PIECE))
        for start in range(0, len(content), _PIECE):
            piece = content[start : start + _PIECE]
            buffer[: len(piece)] = piece
            yield buffer[: len(piece)]
        buffer[:] = bytes(_PIECE)

    def head(self, key: str) -> ObjectInfo | None:
        with self.lock:
            there = self.objects.get(key)
            if there is None:
                return None
            content, etag, modified = there
            return ObjectInfo(key, len(content), etag, modified, hashlib.sha256(content).hexdigest())

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        with self.lock:
            keys = sorted(key for key in self.objects if key.startswith(prefix))
        for key in keys:
            info = self.head(key)
            if info is not None:
                yield info

    def delete(self, keys: Sequence[str]) -> None:
        with self.lock:
            for key in keys:
                self.objects.pop(key, None)

    def unfinished_uploads(self, prefix: str) -> Iterator[tuple[str, str, datetime]]:
        del prefix
        return iter(())

    def abort_upload(self, key: str, upload: str) -> None:
        del key, upload

    def now(self) -> datetime:
        return self.clock.replace(microsecond=0)


@dataclass
class Dying:
    """A store as a process sees it that is killed at its `at`-th request (from 1; 0: never).

    `done` says whether that request still reached the store. With `meet`, the process only stops there, and goes on
    when it is told to; with `once`, no further than that one request."""

    real: MemoryStore
    at: int
    done: bool = False
    meet: Callable[[], None] | None = None
    once: bool = False
    count: int = 0
    dead: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def name(self) -> str:
        return self.real.name

    def _call(self, work: Callable[..., Any], *words: Any, **more: Any) -> Any:
        with self.lock:
            if self.dead:
                raise Killed
            self.count += 1
            last = self.count == self.at
            self.dead = last and self.meet is None
        if last and self.meet is not None:
            self.meet()
            self.dead = self.once
        if last and self.meet is None:
            if self.done:
                work(*words, **more)
            raise Killed
        return work(*words, **more)

    def put(self, key: str, body: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        return str(self._call(self.real.put, key, body, if_absent=if_absent, if_match=if_match))

    def put_file(self, key: str, path: Path, *, sha256: str, progress: Callable[[int], None]) -> None:
        self._call(self.real.put_file, key, path, sha256=sha256, progress=progress)

    def get(self, key: str) -> tuple[bytes, str]:
        content, etag = self._call(self.real.get, key)
        return content, etag

    def look(self, key: str) -> tuple[bytes, ObjectInfo]:
        content, info = self._call(self.real.look, key)
        return content, info

    def stream(self, key: str) -> Iterator[bytes]:
        return iter(self._call(self.real.stream, key))

    def pieces(self, key: str, size: int) -> Iterator[bytes | memoryview]:
        return iter(self._call(self.real.pieces, key, size))

    def head(self, key: str) -> ObjectInfo | None:
        info: ObjectInfo | None = self._call(self.real.head, key)
        return info

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return iter(list(self._call(self.real.list, prefix)))

    def delete(self, keys: Sequence[str]) -> None:
        """A request that is cut off may have deleted some of them."""
        for key in keys:
            self._call(self.real.delete, [key])

    def unfinished_uploads(self, prefix: str) -> Iterator[tuple[str, str, datetime]]:
        return iter(list(self._call(self.real.unfinished_uploads, prefix)))

    def abort_upload(self, key: str, upload: str) -> None:
        self._call(self.real.abort_upload, key, upload)

    def now(self) -> datetime:
        return self.real.now()
