"""Runs that die at a chosen step: a process that sends itself SIGKILL at its Nth tick."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.policy.store import ObjectInfo

_PRELOAD = ["boto3", "ops_pipelines.adapters.s3", "ops_pipelines.engines.restore", "tests.engines.folders"]


@dataclass
class Fuse:
    """Kills this process at the `at`-th tick; 0 never does."""

    at: int
    ticks: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def tick(self) -> None:
        with self.lock:
            self.ticks += 1
            if self.ticks == self.at:
                os.kill(os.getpid(), signal.SIGKILL)


class Ticks(Protocol):
    """What wants to know of every step."""

    def tick(self) -> None: ...


@dataclass
class FusedStore:
    """A store whose every call, and every piece that moves, is a tick before it and one after it."""

    real: S3Store
    fuse: Ticks

    @property
    def name(self) -> str:
        return self.real.name

    def _call(self, work: Callable[..., Any], *args: Any, **words: Any) -> Any:
        self.fuse.tick()
        result = work(*args, **words)
        self.fuse.tick()
        return result

    def put(self, key: str, body: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        return str(self._call(self.real.put, key, body, if_absent=if_absent, if_match=if_match))

    def put_file(self, key: str, path: Path, *, sha256: str, progress: Callable[[int], None]) -> None:
        def moved(count: int) -> None:
            self.fuse.tick()
            progress(count)

        self._call(self.real.put_file, key, path, sha256=sha256, progress=moved)

    def get(self, key: str) -> tuple[bytes, str]:
        content, etag = self._call(self.real.get, key)
        return content, etag

    def look(self, key: str) -> tuple[bytes, ObjectInfo]:
        content, info = self._call(self.real.look, key)
        return content, info

    def stream(self, key: str) -> Iterator[bytes]:
        for piece in self._call(self.real.stream, key):
            self.fuse.tick()
            yield piece

    def pieces(self, key: str, size: int) -> Iterator[bytes | memoryview]:
        for piece in self._call(self.real.pieces, key, size):
            self.fuse.tick()
            yield piece

    def head(self, key: str) -> ObjectInfo | None:
        info: ObjectInfo | None = self._call(self.real.head, key)
        return info

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        self.fuse.tick()
        yield from self.real.list(prefix)
        self.fuse.tick()

    def now(self) -> datetime:
        return self.real.now()

    def delete(self, keys: Sequence[str]) -> None:
        self._call(self.real.delete, keys)

    def unfinished_uploads(self, prefix: str) -> Iterator[tuple[str, str, datetime]]:
        return self.real.unfinished_uploads(prefix)

    def abort_upload(self, key: str, upload: str) -> None:
        self.real.abort_upload(key, upload)


def run_killed(work: Callable[..., None], *args: object) -> bool:
    """Run `work` in a process of its own. True where it was killed, False where it came to its end."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    process = context.Process(target=work, args=args)
    process.start()
    process.join(120)
    if process.exitcode not in (0, -signal.SIGKILL):
        raise AssertionError(f"the run ended with {process.exitcode}")
    return process.exitcode != 0
