"""Collections of a real Milvus and of Milvus Lite, each into itself and into the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ops_pipelines.adapters.milvus import MilvusStore
from ops_pipelines.engines.parts.collection import CollectionSource, CollectionTarget
from ops_pipelines.engines.ports import silent
from ops_pipelines.errors import SchemaMismatch
from ops_pipelines.policy.manifest import Part
from ops_pipelines.policy.plan import failed
from ops_pipelines.policy.vectors import CollectionSchema, FieldSchema, FunctionSchema, IndexSchema
from tests.adapters.test_milvus import KEYS, f32
from tests.engines.test_part_collection import CUTS, all_rows, fetch_from, part_of

VECTOR = FieldSchema("vector", "float_vector", dimension=8)
KEY = FieldSchema("id", "int64", primary=True)
BOTH = CollectionSchema(
    fields=(
        FieldSchema("id", "varchar", primary=True, max_length=512),
        FieldSchema("flag", "bool"),
        FieldSchema("i8", "int8"),
        FieldSchema("i16", "int16"),
        FieldSchema("i32", "int32", default=7),
        FieldSchema("i64", "int64"),
        FieldSchema("f32", "float", default=0.5),
        FieldSchema("f64", "double"),
        FieldSchema("text", "varchar", max_length=65535, default="none"),
        FieldSchema("doc", "json"),
        FieldSchema("numbers", "array", element="int64", capacity=8),
        FieldSchema("floats", "array", element="float", capacity=8),
        FieldSchema("words", "array", element="varchar", capacity=8, max_length=64),
        VECTOR,
    ),
    indexes={"vector": IndexSchema("HNSW", "COSINE", {"M": 8, "efConstruction": 64})},
    dynamic=True,
    partitions=("west",),
    properties={"collection.ttl.seconds": "86400"},
)
"""Everything that both have."""


def row(key: Any, number: int) -> dict[str, Any]:
    random = np.random.default_rng(number)
    return {
        "id": key, "flag": number % 2 == 0, "i8": -128 + number, "i16": 32767 - number, "i32": -(2**31) + number,
        "i64": 2**63 - 1 - number, "f32": f32(0.1 * number), "f64": 0.1 * number, "text": "é😀 \n" * number,
        "doc": {"b": [1, 1.5, None, 9007199254740993], "a": {"ü": number}}, "numbers": [2**60 + number] * (number % 4),
        "floats": [f32(0.1), f32(-0.0)], "words": ["a", "ß"], "loose": {"n": [number, None]},
        "vector": [float(x) for x in random.standard_normal(8).astype(np.float32)],
    }  # fmt: skip


def fill(store: MilvusStore, name: str, schema: CollectionSchema, rows: Sequence[Mapping[str, Any]]) -> None:
    store.create(f"{name}__1", schema)
    store.insert(f"{name}__1", rows)
    store.flush(f"{name}__1")
    store.build_indexes(f"{name}__1", schema)
    store.load(f"{name}__1")
    store.point_alias(name, f"{name}__1")


def kept(store: MilvusStore, name: str, folder: Path) -> tuple[Part, Any]:
    folder.mkdir()
    taken = CollectionSource(name, store, cuts=CUTS, batch=50).capture(folder, silent)
    assert taken.consistency == "quiesced"
    return part_of(name, taken), fetch_from(taken)


def restored(part: Part, fetch: Any, name: str, store: MilvusStore, scratch: Path) -> CollectionTarget:
    """Stage, check in both ways (nothing worse than a warning), and switch."""
    target = CollectionTarget(name, store, scratch, batch=100)
    place = target.stage(part, None, fetch, silent)
    for full in (True, False):
        assert [f for f in failed(target.check(part, place, full=full)) if f.severity == "error"] == []
    target.switch(part, place)
    return target


@pytest.fixture
def stores(
    request: pytest.FixtureRequest, vector_store: MilvusStore, real_milvus: MilvusStore
) -> tuple[MilvusStore, MilvusStore]:
    known = {"lite": vector_store, "real": real_milvus}
    first, second = request.param.split(" to ")
    return known[first], known[second]


@pytest.mark.parametrize("stores", ["real to real", "lite to real", "real to lite"], indirect=True)
def test_every_type_that_both_have_goes_from_one_into_the_other(
    stores: tuple[MilvusStore, MilvusStore], real_name: str, collection_name: str, tmp_path: Path
) -> None:
    source, other = stores
    there, here = (collection_name, real_name) if "lite" in source.version() else (real_name, collection_name)
    if source is other:
        here = f"{there}_copy"
    rows = [row(key, number) for number, key in enumerate(KEYS)]
    fill(source, there, BOTH, rows[:9])
    source.insert(there, rows[9:], partition="west")
    part, fetch = kept(source, there, tmp_path / "a")
    assert part.facts["rows"] == len(KEYS)
    restored(replace(part, name=here), fetch, here, other, tmp_path / "scratch")
    assert all_rows(other, here) == all_rows(source, there)
    west = [one["id"] for page in other.rows(here, partition="west", fields=()) for one in page]
    assert west == sorted(KEYS[9:])
    state = other.state(here)
    assert state is not None
    assert [(f.name, f.default) for f in state.schema.fields if f.default is not None] == [
        ("i32", 7), ("f32", 0.5), ("text", "none")
    ]  # fmt: skip
    assert state.schema.properties == BOTH.properties
    again, _ = kept(other, here, tmp_path / "b")
    assert [e.sha256 for e in again.files[1:]] == [e.sha256 for e in part.files[1:]]
    assert again.facts["digest"] == part.facts["digest"]


@pytest.mark.parametrize(("type", "size"), [("binary_vector", 2), ("float16_vector", 32)])
def test_vectors_of_octets(
    real_milvus: MilvusStore, real_name: str, tmp_path: Path, type: str, size: int
) -> None:
    vector = FieldSchema("vector", type, dimension=16)
    index = IndexSchema("BIN_FLAT", "HAMMING") if size == 2 else IndexSchema("FLAT", "L2")
    schema = CollectionSchema((KEY, vector), {"vector": index})
    random = np.random.default_rng(1)
    values = [random.standard_normal(16).astype(np.float16).tobytes()[:size] for _ in range(200)]
    fill(real_milvus, real_name, schema, [{"id": i, "vector": value} for i, value in enumerate(values)])
    part, fetch = kept(real_milvus, real_name, tmp_path / "a")
    restored(part, fetch, real_name, real_milvus, tmp_path / "scratch")
    assert [one["vector"] for one in all_rows(real_milvus, real_name)] == values


@pytest.mark.parametrize("stores", ["real to real", "lite to lite"], indirect=True)
def test_what_surrounds_the_rows(
    stores: tuple[MilvusStore, MilvusStore], real_name: str, collection_name: str, tmp_path: Path
) -> None:
    """Partition key, descriptions, a scalar index, further aliases, what readers see: as the server tells them."""
    store = stores[0]
    lite = "lite" in store.version() and store.version().startswith("milvus_lite")
    name = collection_name if lite else real_name
    schema = CollectionSchema(
        (KEY, FieldSchema("tenant", "varchar", max_length=64, partition_key=True, description="whose"),
         FieldSchema("word", "varchar", max_length=64), VECTOR),
        {"vector": IndexSchema("FLAT", "L2"), "word": IndexSchema("INVERTED" if lite else "Trie", "")},
        description="documents", buckets=16 if lite else 5, shards=1, consistency="Strong",
    )  # fmt: skip
    rows = [{"id": i, "tenant": f"t{i % 7}", "word": "w", "vector": [float(i)] * 8} for i in range(100)]
    fill(store, name, schema, rows)
    store.point_alias(f"{name}_second", name + "__1")
    store.point_alias(f"{name}_third", name + "__1")
    part, fetch = kept(store, name, tmp_path / "a")
    assert part.facts["lost"] == []
    store.create(f"{name}_else", CollectionSchema((KEY, VECTOR)))
    store.point_alias(f"{name}_third", f"{name}_else")
    restored(part, fetch, name, store, tmp_path / "scratch")
    state = store.state(name)
    assert state is not None
    assert state.aliases == (name, f"{name}_second")
    assert store.aliases()[f"{name}_third"] == f"{name}_else"
    seen = state.schema
    assert [f.name for f in seen.fields if f.partition_key] == ["tenant"]
    assert (seen.buckets, seen.partitions, seen.consistency) == (schema.buckets, (), "Strong")
    assert seen.indexes["word"].type == schema.indexes["word"].type
    if not lite:
        assert (seen.description, seen.fields[1].description) == ("documents", "whose")


def test_keys_that_the_server_made_come_back_the_same(
    real_milvus: MilvusStore, vector_store: MilvusStore, real_name: str, collection_name: str, tmp_path: Path
) -> None:
    schema = CollectionSchema((replace(KEY, auto_id=True), VECTOR), {"vector": IndexSchema("FLAT", "L2")})
    fill(real_milvus, real_name, schema, [{"vector": [float(i)] * 8} for i in range(50)])
    part, fetch = kept(real_milvus, real_name, tmp_path / "a")
    before = all_rows(real_milvus, real_name)
    target = restored(part, fetch, real_name, real_milvus, tmp_path / "scratch")
    assert all_rows(real_milvus, real_name) == before
    told = failed(target.check(part, target.stage(part, "look", fetch, silent), full=False))
    assert [(f.severity, "auto_id" in f.message) for f in told] == [("warning", True)]
    here = replace(part, name=collection_name)
    restored(here, fetch, collection_name, vector_store, tmp_path / "scratch")
    state = vector_store.state(collection_name)
    assert state is not None
    assert state.schema.primary.auto_id
    assert all_rows(vector_store, collection_name) == before


BM25 = CollectionSchema(
    (KEY, FieldSchema("text", "varchar", max_length=1000, params={"enable_analyzer": "true"}),
     FieldSchema("words", "sparse_float_vector", computed=True)),
    {"words": IndexSchema("SPARSE_INVERTED_INDEX", "BM25")},
    functions=(FunctionSchema("bm25", "BM25", ("text",), ("words",)),),
)  # fmt: skip


def test_what_a_server_computes_is_computed_again(
    vector_store: MilvusStore, collection_name: str, tmp_path: Path
) -> None:
    texts = ["the cat sat", "a dog ran", "cats and dogs"]
    fill(vector_store, collection_name, BM25, [{"id": i, "text": text} for i, text in enumerate(texts)])
    part, fetch = kept(vector_store, collection_name, tmp_path / "a")
    restored(part, fetch, collection_name, vector_store, tmp_path / "scratch")
    found = vector_store._client.search(collection_name, data=["dog"], anns_field="words", limit=1)
    assert [hit["id"] for hit in found[0]] == [1]
    state = vector_store.state(collection_name)
    assert state is not None
    assert state.schema.functions == BM25.functions


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (BM25, "words is a sparse_float_vector.*since 2.4.*v2.3.5"),
        (
            CollectionSchema((KEY, FieldSchema("n", "int64", nullable=True), VECTOR)),
            "n is nullable.*since 2.5",
        ),
        (CollectionSchema((KEY, VECTOR, replace(VECTOR, name="other"))), "more than one vector"),
    ],
)
def test_what_an_old_server_would_garble_is_refused_before(
    real_milvus: MilvusStore, real_name: str, schema: CollectionSchema, said: str
) -> None:
    with pytest.raises(SchemaMismatch, match=said):
        real_milvus.create(real_name, schema, given_keys=True)
    assert real_milvus.state(real_name) is None
