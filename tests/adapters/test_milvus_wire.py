"""Values and filters on the way to Milvus, types that Milvus Lite does not have included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pymilvus import FunctionType
from pymilvus.grpc_gen import schema_pb2

from ops_pipelines.adapters._milvus_rows import bites, from_server, key_literal, last_key, to_server
from ops_pipelines.adapters._milvus_types import TYPES, known_index, known_schema, lacking, server_schema
from ops_pipelines.errors import Refused, SchemaMismatch
from ops_pipelines.policy.collection_schema import decode_schema, encode_schema
from ops_pipelines.policy.vectors import CollectionSchema, CollectionState, FieldSchema, FunctionSchema

SCHEMA = CollectionSchema(
    (
        FieldSchema("id", "int64", primary=True),
        FieldSchema("doc", "json", nullable=True),
        FieldSchema("tiny", "int8_vector", dimension=2),
        FieldSchema("half", "float16_vector", dimension=1),
    )
)


@pytest.mark.parametrize(
    ("value", "sent"),
    [({"a": 1}, {"a": 1}), ([1], [1]), ("text", '"text"'), (5, "5"), (True, "true"), (None, None)],
)
def test_json_that_is_no_object_is_sent_as_its_text(value: Any, sent: Any) -> None:
    """pymilvus takes a str for JSON text: the string `5` would become the number."""
    assert to_server(SCHEMA, {"doc": value})["doc"] == sent


@pytest.mark.parametrize(
    "came", [b"\x01\xff", [b"\x01\xff"], bytearray(b"\x01\xff"), np.array([1, -1], np.int8)]
)
def test_vectors_of_octets_come_as_bytes_and_go_as_servers_want_them(came: Any) -> None:
    row = from_server(SCHEMA, {"tiny": came, "half": came})
    assert row == {"tiny": b"\x01\xff", "half": b"\x01\xff"}
    sent = to_server(SCHEMA, row)
    assert (sent["tiny"].dtype, sent["tiny"].tolist()) == (np.int8, [1, -1])
    assert sent["half"] == b"\x01\xff"


def test_keys_in_filters() -> None:
    assert [key_literal(key) for key in (5, -5, "a", 'a"\\\n')] == ["5", "-5", '"a"', '"a\\"\\\\\\n"']


def test_rows_go_in_runs_of_bounded_size() -> None:
    rows = [{"id": i, "text": "x" * 2**20, "v": np.zeros(1024, np.float32)} for i in range(40)]
    runs = list(bites(rows))
    assert [row["id"] for run in runs for row in run] == list(range(40))
    assert 3 <= len(runs) <= 4
    assert [len(run) for run in bites([{"t": "x" * 2**25}, {"t": "y"}, {"t": ["z" * 2**25]}])] == [1, 1, 1]


@pytest.mark.parametrize(("keys", "before"), [([3, 2], None), ([1, 2], 1), ([1, 2], 5), (["b", "a"], None)])
def test_pages_out_of_order_are_refused(keys: list[Any], before: Any) -> None:
    with pytest.raises(Refused, match="no order"):
        last_key(keys, before, "docs")


def test_an_index_as_servers_tell_it() -> None:
    beside = {"index_type": "HNSW", "metric_type": "L2", "field_name": "v", "index_name": "v", "M": "16",
              "efConstruction": "64", "total_rows": 3, "state": "Finished"}  # fmt: skip
    below = {"index_type": "HNSW", "metric_type": "L2", "params": {"M": 16, "efConstruction": 64}}
    assert known_index(beside) == known_index(below)
    assert known_index(beside).params == {"M": 16, "efConstruction": 64}


def described(**more: Any) -> dict[str, Any]:
    return {
        "fields": [
            {"name": "id", "type": TYPES["int64"], "params": {}, "is_primary": True},
            {"name": "v", "type": TYPES["float_vector"], "params": {"dim": 4}, **more.pop("v", {})},
        ],
        **more,
    }


def test_a_schema_as_servers_tell_it() -> None:
    default = schema_pb2.ValueField(long_data=1)
    function = {
        "name": "bm25",
        "type": FunctionType.BM25,
        "input_field_names": ["t"],
        "output_field_names": ["s"],
    }
    told = described(
        description="old",
        functions=[function],
        properties={"mmap.enabled": "true"},
        v={"is_partition_key": True, "default_value": default},
    )
    told["fields"].append({"name": "s", "type": TYPES["sparse_float_vector"], "params": {}})
    index = {"field_name": "v", "index_type": "HNSW", "metric_type": "L2"}
    schema, notes = known_schema("docs", told, [index], ["_default_0", "_default_1"])
    assert notes == ("how the index of v was built (its server does not tell)",)
    assert (schema.description, schema.properties, schema.buckets) == ("old", {"mmap.enabled": "true"}, 2)
    assert (schema.partitions, schema.fields[1].default) == ((), 1)
    assert schema.functions == (FunctionSchema("bm25", "BM25", ("t",), ("s",)),)
    assert [field.name for field in schema.stored] == ["id", "v"]
    again = decode_schema(
        encode_schema(CollectionState("docs", None, schema, 0, loaded=True), "v2.3.5"), where="a test"
    )
    assert again.schema == schema


@pytest.mark.parametrize(
    ("version", "said"),
    [("v2.3.5", "since 2.4"), ("v2.5.1", ""), ("milvus_lite-3.2.2", ""), ("strange", "")],
)
def test_what_a_version_lacks(version: str, said: str) -> None:
    schema = CollectionSchema(
        (FieldSchema("id", "int64", primary=True), FieldSchema("s", "sparse_float_vector"))
    )
    assert (said in lacking(schema, version)) if said else lacking(schema, version) == ""


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"v": {"type": 19}}, "the field v of type 19"),
        (
            {"functions": [{"name": "embed", "type": FunctionType.TEXTEMBEDDING}]},
            "function embed of type TEXT",
        ),
        ({"struct_array_fields": [{"name": "parts"}]}, "fields of structures"),
    ],
)
def test_what_cannot_be_kept_is_refused(more: dict[str, Any], said: str) -> None:
    with pytest.raises(SchemaMismatch, match=said):
        known_schema("docs", described(**more), [], [])


def test_every_declared_type_makes_a_field() -> None:
    fields = [FieldSchema("id", "int64", primary=True, auto_id=True)]
    fields += [
        FieldSchema(f"f_{word}", word, dimension=8, element="int8", capacity=4)
        for word in TYPES
        if not word.startswith("sparse")
    ]
    made = server_schema(CollectionSchema((*fields, FieldSchema("s", "sparse_float_vector"))))
    assert [field.name for field in made.fields] == [*(field.name for field in fields), "s"]
    assert made.auto_id
