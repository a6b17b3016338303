"""Collections looked at, created and compared on a real Milvus Lite with a real embedding model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ops_pipelines.adapters.embeddings import OpenAIEmbeddings
from ops_pipelines.adapters.milvus import MilvusStore
from ops_pipelines.engines.collections import check_dimension, ensure, inspect
from ops_pipelines.errors import SchemaMismatch
from ops_pipelines.policy.vectors import CollectionSchema, FieldSchema, IndexSchema
from tests.examples.model_server import MODEL
from tests.servers.milvus import MilvusLite
from tests.waiting import free_port

DOCS = CollectionSchema(
    fields=(
        FieldSchema("id", "varchar", primary=True, max_length=64),
        FieldSchema("vector", "float_vector", dimension=384),
    ),
    indexes={"vector": IndexSchema("AUTOINDEX", "COSINE")},
)


@pytest.fixture
def name(collection_name: str) -> str:
    return collection_name


def test_ensure_creates_once_behind_an_alias(vector_store: MilvusStore, name: str) -> None:
    assert [finding.ok for finding in inspect(name, DOCS, vector_store).findings] == [False]
    made = ensure(name, DOCS, vector_store)
    assert (made.physical, made.created) == (f"{name}__1", True)
    vector_store.insert(name, [{"id": "a", "vector": [1.0] * 384}])
    assert not ensure(name, DOCS, vector_store).created
    seen = inspect(name, DOCS, vector_store, expected_rows=1)
    assert [finding.ok for finding in seen.findings] == [True]
    assert seen.state is not None
    assert (seen.state.rows, seen.state.loaded, seen.state.alias) == (1, True, name)


def test_what_is_there_is_never_changed(vector_store: MilvusStore, name: str) -> None:
    ensure(name, DOCS, vector_store)
    vector_store.insert(name, [{"id": "a", "vector": [1.0] * 384}])
    other = replace(DOCS, fields=(DOCS.fields[0], replace(DOCS.fields[1], dimension=8)))
    with pytest.raises(SchemaMismatch, match=r"declared 8 and is 384[\s\S]*`fields\.vector\.dimension`"):
        ensure(name, other, vector_store)
    assert vector_store.count(name) == 1
    assert [finding.ok for finding in inspect(name, other, vector_store).findings] == [False]


@pytest.mark.parametrize("done", ["create", "build_indexes", "load"])
def test_ensure_goes_on_after_a_crash(vector_store: MilvusStore, name: str, done: str) -> None:
    vector_store.create(f"{name}__1", DOCS)
    if done != "create":
        vector_store.build_indexes(f"{name}__1", DOCS)
    if done == "load":
        vector_store.load(f"{name}__1")
    assert ensure(name, DOCS, vector_store).created
    assert [finding.ok for finding in inspect(name, DOCS, vector_store).findings] == [True]


def test_a_restarted_server_is_loaded_again(own_milvus_lite: MilvusLite) -> None:
    store = own_milvus_lite.connect(timeout=2)
    ensure("docs", DOCS, store)
    store.insert("docs", [{"id": "a", "vector": [1.0] * 384}])
    own_milvus_lite.kill()
    findings = inspect("docs", DOCS, store).findings
    assert [finding.ok for finding in findings] == [None]
    assert "does not answer" in findings[0].message
    own_milvus_lite.start()
    ensure("docs", DOCS, store)
    assert store.search("docs", [[1.0] * 384], field="vector", limit=1)[0][0][0] == "a"


def test_a_bad_name_is_told_before_anything_is_made(vector_store: MilvusStore) -> None:
    with pytest.raises(SchemaMismatch, match="my-docs"):
        ensure("my-docs", DOCS, vector_store)


@pytest.mark.parametrize(
    ("field", "declared", "ok", "said"),
    [
        (384, 384, [True], ""),
        (384, None, [True], ""),
        (384, 768, [False], "384 numbers; its declaration says 768"),
        (768, 384, [False], "384 numbers; the field vector holds 768"),
        (768, 768, [False, False], "384"),
    ],
)
def test_the_real_dimension_is_asked_for(
    embedding_server: str, field: int, declared: int | None, ok: list[bool], said: str
) -> None:
    schema = replace(DOCS, fields=(DOCS.fields[0], replace(DOCS.fields[1], dimension=field)))
    embedder = OpenAIEmbeddings(embedding_server)
    findings = check_dimension("docs", schema, embedder, MODEL, declared=declared)
    assert [finding.ok for finding in findings] == ok
    assert all(said in finding.message for finding in findings)


@pytest.mark.parametrize("model", [MODEL, "nobody"])
def test_a_dimension_that_cannot_be_asked_for_is_unknown(embedding_server: str, model: str) -> None:
    url: Any = embedding_server if model == "nobody" else f"http://127.0.0.1:{free_port()}"
    findings = check_dimension("docs", DOCS, OpenAIEmbeddings(url), model)
    assert [finding.ok for finding in findings] == [None]
