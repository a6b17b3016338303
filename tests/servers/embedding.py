"""A real embedding server: the example model server with all-MiniLM-L6-v2."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.examples.model_server import Running, hub_cache


@pytest.fixture(scope="session")
def embedding_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address; the model is `tests.examples.model_server.MODEL`, of 384 numbers."""
    folder = tmp_path_factory.mktemp("embedding-server")
    hub_cache.fill_hub_cache(folder)
    running = Running(folder)
    try:
        running.logged("ready")
        yield f"http://127.0.0.1:{running.port}"
    finally:
        running.kill()
