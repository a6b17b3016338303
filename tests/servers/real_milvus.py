"""A real Milvus server (2.3.5), its data in SeaweedFS: `real_milvus` is a store on one that all tests share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import uuid4

import pytest

from ops_pipelines.adapters.milvus import MilvusStore
from ops_pipelines.adapters.s3 import S3Store
from tests.parts import require
from tests.servers.seaweed import Seaweed
from tools.milvus_server import Storage, cannot, milvus_server


@dataclass(frozen=True)
class StoredMilvus:
    """Where the server answers, and the bucket in which it keeps its data."""

    address: str
    seaweed: Seaweed
    name: str

    @property
    def bucket(self) -> S3Store:
        """Our adapter on its bucket."""
        return self.seaweed.store(self.name)


@pytest.fixture(scope="session")
def stored_milvus(seaweed: Seaweed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoredMilvus]:
    """The shared server."""
    found = require("milvus")
    if why := cannot():
        pytest.skip(f"Milvus cannot run here: {why}")
    name = f"milvus-{uuid4().hex[:10]}"
    seaweed.client().create_bucket(Bucket=name)
    port = int(seaweed.endpoint.rsplit(":", 1)[1])
    storage = Storage(port, seaweed.access_key, seaweed.secret_key, name)
    with milvus_server(
        found,
        tmp_path_factory.mktemp("milvus") / "server",
        None if __import__("os").environ.get("LOC") else storage,
    ) as address:
        yield StoredMilvus(address, seaweed, name)


@pytest.fixture(scope="session")
def real_milvus(stored_milvus: StoredMilvus) -> Iterator[MilvusStore]:
    """A store on the shared server; each test uses names of its own."""
    store = MilvusStore.connect(stored_milvus.address)
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
