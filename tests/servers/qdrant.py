"""Qdrant's stand-in (_qdrant.py), on a free port."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from threading import Thread

import pytest

from tests.servers._qdrant import KEY, QdrantServer, handler

__all__ = ["KEY", "QdrantServer", "qdrant"]


@pytest.fixture
def qdrant() -> Iterator[QdrantServer]:
    """A stand-in on a free port, empty."""
    state = QdrantServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(state, KEY))
    state.address = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()
