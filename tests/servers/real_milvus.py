"""A real Milvus server (2.3.5): `real_milvus` is a store on one that all tests share."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from ops_pipelines.adapters.milvus import MilvusStore
from tests.parts import require
from tools.milvus_server import cannot, milvus_server


@pytest.fixture(scope="session")
def real_milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusStore]:
    """A store on the shared server; each test uses names of its own."""
    found = require("milvus")
    if why := cannot():
        pytest.skip(f"Milvus cannot run here: {why}")
    with milvus_server(found, tmp_path_factory.mktemp("milvus")) as address:
        store = MilvusStore.connect(address)
        yield store
        store.close()


@pytest.fixture
def real_name(real_milvus: MilvusStore) -> Iterator[str]:
    """A name of the test's own; collections and aliases that begin with it go at the end."""
    made = f"t_{uuid4().hex[:10]}"
    yield made
    for alias, target in real_milvus.aliases().items():
        if target.startswith(made):
            real_milvus._client.drop_alias(alias)
    for found in real_milvus.collections():
        if found.startswith(made):
            real_milvus.drop(found)
