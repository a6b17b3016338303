"""Values and filters on the way to Milvus, types that Milvus Lite does not have included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ops_pipelines.adapters._milvus_rows import bites, from_server, key_literal, last_key, to_server
from ops_pipelines.adapters._milvus_types import TYPES, known_index, known_schema, server_schema
from ops_pipelines.errors import Refused, SchemaMismatch
from ops_pipelines.policy.vectors import CollectionSchema, FieldSchema

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


def test_what_cannot_be_said_is_noted() -> None:
    schema, notes = known_schema(
        "docs",
        described(description="old", v={"is_partition_key": True, "default_value": 1}),
        [{"field_name": "id", "index_type": "INVERTED"}],
        ["_default", "_default_1"],
    )
    assert notes == ("that v is the partition key", "the default of v", "its description", "the index of id")
    assert (schema.partitions, schema.indexes) == ((), {})


@pytest.mark.parametrize(
    ("more", "said"),
    [({"v": {"type": 24}}, "the field v of type 24"), ({"functions": [{"name": "bm25"}]}, "function bm25")],
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
