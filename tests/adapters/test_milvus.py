"""MilvusStore against a real Milvus Lite."""

from __future__ import annotations

import logging
import struct
import time
from typing import Any

import numpy as np
import pytest

from ops_pipelines.adapters.milvus import MilvusStore
from ops_pipelines.errors import Refused, SchemaMismatch, Unreachable
from ops_pipelines.policy.vectors import CollectionSchema, FieldSchema, IndexSchema
from tests.servers.milvus import MilvusLite
from tests.waiting import free_port

DIMENSION = 16
EVERYTHING = CollectionSchema(
    fields=(
        FieldSchema("id", "varchar", primary=True, max_length=512),
        FieldSchema("flag", "bool"),
        FieldSchema("i8", "int8"),
        FieldSchema("i16", "int16"),
        FieldSchema("i32", "int32"),
        FieldSchema("i64", "int64", nullable=True),
        FieldSchema("f32", "float"),
        FieldSchema("f64", "double"),
        FieldSchema("text", "varchar", max_length=65535, nullable=True),
        FieldSchema("doc", "json", nullable=True),
        FieldSchema("numbers", "array", element="int64", capacity=8),
        FieldSchema("floats", "array", element="float", capacity=8, nullable=True),
        FieldSchema("words", "array", element="varchar", capacity=8, max_length=64),
        FieldSchema("vector", "float_vector", dimension=DIMENSION),
        FieldSchema("other", "float_vector", dimension=2),
        FieldSchema("sparse", "sparse_float_vector"),
    ),
    indexes={
        "vector": IndexSchema("HNSW", "COSINE", {"M": 8, "efConstruction": 64}),
        "other": IndexSchema("FLAT", "L2"),
        "sparse": IndexSchema("SPARSE_INVERTED_INDEX", "IP"),
    },
    dynamic=True,
    partitions=("west",),
)
KEYS = ("", "plain", 'quo"te', "back\\slash", "it's", "a,b]", "line\nbreak", "tab\t", "%like_", "{x}",
        "\u2028", "日本語", "😀", "z" * 400)  # fmt: skip
SMALL = CollectionSchema(
    fields=(
        FieldSchema("id", "int64", primary=True),
        FieldSchema("vector", "float_vector", dimension=4),
    ),
    indexes={"vector": IndexSchema("FLAT", "L2")},
)


def f32(value: float) -> float:
    """The nearest float32, as a Python float."""
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


def everything(key: str, number: int) -> dict[str, Any]:
    """A row with a value in every field, edge cases among them."""
    random = np.random.default_rng(number)
    return {
        "id": key,
        "flag": number % 2 == 0,
        "i8": -128 + number,
        "i16": 32767 - number,
        "i32": -(2**31) + number,
        "i64": None if number % 5 == 0 else 2**63 - 1 - number,
        "f32": f32(0.1 * number),
        "f64": 0.1 * number,
        "text": None if number % 4 == 0 else "é😀 \x01\n" * number,
        "doc": None if number % 3 == 0 else {"b": [1, 1.5, None, 9007199254740993], "a": {"ü": number}},
        "numbers": [2**60 + number] * (number % 4),
        "floats": None if number % 2 else [f32(0.1), f32(-0.0)],
        "words": ["a", "ß"],
        "vector": [float(x) for x in random.standard_normal(DIMENSION).astype(np.float32)],
        "other": [-0.0, f32(1e-45)],
        "sparse": {3: f32(0.3), 4_000_000_000: 1.0 + number},
        "loose": {"n": [number, None]},
    }


def bits(row: Any) -> bytes:
    return (
        np.asarray(row["vector"], dtype=np.float32).tobytes()
        + np.asarray(row["other"], dtype=np.float32).tobytes()
    )


@pytest.fixture
def name(collection_name: str) -> str:
    return collection_name


def test_every_type_comes_back_bit_for_bit(vector_store: MilvusStore, name: str) -> None:
    vector_store.create(name, EVERYTHING)
    vector_store.build_indexes(name, EVERYTHING)
    wanted = [everything(key, number) for number, key in enumerate(KEYS)]
    vector_store.insert(name, wanted[:10])
    vector_store.insert(name, wanted[10:], partition="west")
    vector_store.flush(name)
    vector_store.load(name)
    pages = list(vector_store.rows(name, batch=3))
    assert all(len(page) <= 3 for page in pages)
    rows = [row for page in pages for row in page]
    assert rows == sorted(wanted, key=lambda row: row["id"])
    assert [bits(row) for row in rows] == [bits(row) for row in sorted(wanted, key=lambda row: row["id"])]
    assert vector_store.count(name) == len(KEYS)
    west = [row["id"] for page in vector_store.rows(name, partition="west", fields=("flag",)) for row in page]
    assert west == sorted(KEYS[10:])
    assert vector_store.get(name, [*KEYS, "absent"]) == wanted


def test_state_tells_the_schema_as_created(vector_store: MilvusStore, name: str) -> None:
    vector_store.create(name, EVERYTHING)
    vector_store.build_indexes(name, EVERYTHING)
    vector_store.load(name)
    vector_store.point_alias(f"{name}_alias", name)
    state = vector_store.state(f"{name}_alias")
    assert state is not None
    assert (state.name, state.alias, state.rows, state.loaded) == (name, f"{name}_alias", 0, True)
    assert state.notes == ("how the index of vector was built (its server does not tell)",)
    assert state.schema.dynamic
    assert state.schema.partitions == ("west",)
    for seen, wanted in zip(state.schema.fields, EVERYTHING.fields, strict=True):
        assert (seen.name, seen.type, seen.primary, seen.dimension, seen.element, seen.nullable) == (
            wanted.name, wanted.type, wanted.primary, wanted.dimension, wanted.element, wanted.nullable
        )  # fmt: skip
    assert {f: (i.type, i.metric) for f, i in state.schema.indexes.items()} == {
        f: (i.type, i.metric) for f, i in EVERYTHING.indexes.items()
    }


def test_missing_is_none_and_empty_is_zero(vector_store: MilvusStore, name: str) -> None:
    assert vector_store.state(name) is None
    vector_store.create(name, SMALL)
    state = vector_store.state(name)
    assert state is not None
    assert state.rows == 0
    assert list(vector_store.rows(name)) == []


def test_delete_and_upsert_take_any_key(vector_store: MilvusStore, name: str) -> None:
    vector_store.create(name, EVERYTHING)
    vector_store.insert(name, [everything(key, number) for number, key in enumerate(KEYS)])
    vector_store.upsert(name, [everything(KEYS[2], 77)])
    assert vector_store.get(name, [KEYS[2]]) == [everything(KEYS[2], 77)]
    vector_store.delete(name, KEYS[:7])
    assert [row["id"] for page in vector_store.rows(name) for row in page] == sorted(KEYS[7:])


def test_what_an_alias_points_at_is_not_dropped(vector_store: MilvusStore, name: str) -> None:
    vector_store.create(name, SMALL)
    vector_store.create(f"{name}_other", SMALL)
    vector_store.insert(name, [{"id": 1, "vector": [1.0, 0, 0, 0]}])
    vector_store.point_alias(f"{name}_alias", name)
    for live in (name, f"{name}_alias"):
        with pytest.raises(Refused, match=f"{name}_alias"):
            vector_store.drop(live)
    assert vector_store.count(f"{name}_alias") == 1
    vector_store.point_alias(f"{name}_alias", f"{name}_other")
    vector_store.drop(name)
    assert vector_store.state(name) is None
    assert vector_store.aliases()[f"{name}_alias"] == f"{name}_other"


@pytest.mark.parametrize("type", ["binary_vector", "float16_vector", "bfloat16_vector", "int8_vector"])
def test_types_that_lite_lacks_are_named_before(vector_store: MilvusStore, name: str, type: str) -> None:
    schema = CollectionSchema(
        (FieldSchema("id", "int64", primary=True), FieldSchema("v", type, dimension=16))
    )
    with pytest.raises(SchemaMismatch, match=f"field v is a {type}.*\n.*Milvus server"):
        vector_store.create(name, schema)
    assert vector_store.state(name) is None


@pytest.mark.parametrize("type", ["IVF_PQ", "DISKANN", "GPU_CAGRA"])
def test_indexes_that_lite_cannot_build_are_named_before(
    vector_store: MilvusStore, name: str, type: str
) -> None:
    vector_store.create(name, SMALL)
    schema = CollectionSchema(SMALL.fields, {"vector": IndexSchema(type, "L2")})
    with pytest.raises(SchemaMismatch, match=type):
        vector_store.build_indexes(name, schema)


def test_wrong_rows_are_a_schema_mismatch(vector_store: MilvusStore, name: str) -> None:
    vector_store.create(name, SMALL)
    for row in ({"id": 1, "vector": [1.0, 2.0]}, {"id": "one", "vector": [1.0] * 4}, {"id": 1}):
        with pytest.raises(SchemaMismatch, match=f"insert into {name}"):
            vector_store.insert(name, [row])
    assert vector_store.count(name) == 0


def test_auto_id_is_told_and_keeps_given_keys(vector_store: MilvusStore, name: str) -> None:
    fields = (FieldSchema("id", "int64", primary=True, auto_id=True), SMALL.fields[1])
    vector_store.create(name, CollectionSchema(fields, SMALL.indexes))
    state = vector_store.state(name)
    assert state is not None
    assert state.schema.primary.auto_id
    vector_store.insert(name, [{"vector": [1.0] * 4}])
    assert vector_store.count(name) == 1


def test_search_gives_nearest_first(vector_store: MilvusStore, name: str) -> None:
    vector_store.create(name, SMALL)
    vector_store.build_indexes(name, SMALL)
    vector_store.insert(name, [{"id": i, "vector": [float(i), 0, 0, 0]} for i in range(20)])
    vector_store.load(name)
    answers = vector_store.search(name, [[3.2, 0, 0, 0], [19, 0, 0, 0]], field="vector", limit=3)
    assert [[key for key, _ in answer] for answer in answers] == [[3, 4, 2], [19, 18, 17]]
    assert answers[1][0][1] == 0.0


def test_rows_of_a_released_collection_are_read_and_it_is_released_again(
    own_milvus_lite: MilvusLite,
) -> None:
    store = own_milvus_lite.connect()
    store.create("one", SMALL)
    store.build_indexes("one", SMALL)
    store.insert("one", [{"id": i, "vector": [float(i), 0, 0, 0]} for i in range(5)])
    store.rename("one", "two")
    state = store.state("two")
    assert state is not None
    assert (state.loaded, state.rows) == (False, 5)
    with pytest.raises(Refused, match="not loaded"):
        store.get("two", [1])
    assert [row["id"] for page in store.rows("two", batch=2) for row in page] == [0, 1, 2, 3, 4]
    after = store.state("two")
    assert after is not None
    assert not after.loaded


def test_killed_server_is_unreachable_and_then_all_is_there(own_milvus_lite: MilvusLite) -> None:
    store = own_milvus_lite.connect(timeout=2)
    store.create("one", SMALL)
    store.insert("one", [{"id": i, "vector": [float(i), 0, 0, 0]} for i in range(5)])
    own_milvus_lite.kill()
    begun = time.monotonic()
    with pytest.raises(Unreachable, match=r"does not answer[\s\S]*check that the server runs"):
        store.count("one")
    assert time.monotonic() - begun < 20
    own_milvus_lite.start()
    assert store.count("one") == 5


def test_nobody_listening_is_unreachable(caplog: pytest.LogCaptureFixture) -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(Unreachable, match=uri):
        MilvusStore.connect(uri, timeout=1)


def test_pymilvus_prints_nothing_of_its_own(
    vector_store: MilvusStore, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Refused):
        list(vector_store.rows("never_there"))
    assert capfd.readouterr().err == ""
    assert not any(
        handler.__class__ is logging.StreamHandler for handler in logging.getLogger("pymilvus").handlers
    )


def test_a_missing_database_is_empty_until_something_is_created(own_milvus_lite: MilvusLite) -> None:
    store = MilvusStore.connect(own_milvus_lite.uri, database="obelisk")
    assert store.collections() == ()
    assert store.state("one") is None
    store.create("one", SMALL)
    assert store.collections() == ("one",)
    assert own_milvus_lite.connect().collections() == ()
    assert MilvusStore.connect(own_milvus_lite.uri, database="obelisk").collections() == ("one",)
