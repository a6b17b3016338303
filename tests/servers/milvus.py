"""Real Milvus Lite: `milvus_lite` and `vector_store` for all tests, `own_milvus_lite` to kill."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from ops_pipelines.adapters.milvus import MilvusStore
from ops_pipelines.errors import Unreachable
from tests.parts import require
from tests.servers._child import die_with_parent
from tests.waiting import free_port, until


class MilvusLite:
    """One `milvus-lite server` in a process session of its own."""

    def __init__(self, program: Path, folder: Path) -> None:
        self._program = program
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start, and return when it answers a call."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "server", "--data-dir", self.folder / "data", "--host", "127.0.0.1",
                 "--port", str(self.port)],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - it takes no lock
            )  # fmt: skip
        until(self._answers, what=f"Milvus Lite on port {self.port}", seconds=60)

    def _answers(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            pytest.fail(f"milvus-lite ended: {(self.folder / 'server.log').read_text()[-2000:]}")
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            self.connect(timeout=5).close()
        except (OSError, Unreachable):
            return False
        return True

    def kill(self) -> None:
        """SIGKILL, as a crash of the machine would."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def restart(self) -> None:
        """Kill and start again with the same data and port."""
        self.kill()
        self.start()

    def connect(self, timeout: float = 30.0) -> MilvusStore:
        return MilvusStore.connect(self.uri, timeout=timeout)


def _running(folder: Path) -> Iterator[MilvusLite]:
    server = MilvusLite(require("milvus-lite")["milvus-lite"], folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="session")
def milvus_lite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a Milvus Lite that all tests share; each uses names of its own."""
    for server in _running(tmp_path_factory.mktemp("milvus-lite")):
        yield server.uri


@pytest.fixture
def own_milvus_lite(tmp_path: Path) -> Iterator[MilvusLite]:
    """A Milvus Lite that one test may kill and restart."""
    yield from _running(tmp_path / "own-milvus-lite")


@pytest.fixture(scope="session")
def vector_store(milvus_lite: str) -> Iterator[MilvusStore]:
    """A store on the shared server."""
    store = MilvusStore.connect(milvus_lite)
    yield store
    store.close()


@pytest.fixture
def collection_name(vector_store: MilvusStore) -> Iterator[str]:
    """A name of the test's own; collections and aliases that begin with it go at the end."""
    made = f"t_{uuid4().hex[:10]}"
    yield made
    for alias, target in vector_store.aliases().items():
        if target.startswith(made):
            vector_store._client.drop_alias(alias)
    for found in vector_store.collections():
        if found.startswith(made):
            vector_store.drop(found)
