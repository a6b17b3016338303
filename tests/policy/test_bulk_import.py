"""When a server reads rows from files by itself, and how these look."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from ops_pipelines.policy.bulk_import import file_batch, file_schema, obstacle
from ops_pipelines.policy.rowcolumns import to_columns
from ops_pipelines.policy.vectors import CollectionSchema, FieldSchema, FunctionSchema

KEY = FieldSchema("id", "int64", primary=True)
VECTOR = FieldSchema("vector", "float_vector", dimension=2)
GOOD: dict[str, Any] = {
    "schema": CollectionSchema((KEY, VECTOR)),
    "rows": 1000,
    "version": "v2.3.5-lite",
    "least": 1000,
}


def _with(*fields: FieldSchema, **more: Any) -> CollectionSchema:
    return CollectionSchema((KEY, VECTOR, *fields), **more)


@pytest.mark.parametrize(
    ("fact", "said"),
    [
        ({}, ""),
        ({"version": "v2.4"}, ""),
        ({"version": "2.3.4"}, ""),
        ({"version": "v2.3.3"}, "since 2.3.4"),
        ({"version": "milvus_lite-3.2.2"}, "Lite"),
        ({"version": "master"}, "unknown"),
        ({"rows": None}, "does not say"),
        ({"rows": 999}, "999 rows are fewer than 1000"),
        ({"schema": _with(FieldSchema("half", "float16_vector", dimension=2))}, r"float16_vector \(half\)"),
        ({"schema": _with(FieldSchema("words", "sparse_float_vector"))}, "sparse_float_vector"),
        ({"schema": _with(FieldSchema("n", "int64", nullable=True))}, "n may be null"),
        (
            {"schema": _with(functions=(FunctionSchema("bm25", "BM25", ("text",), ("words",)),))},
            "computes bm25",
        ),
        ({"schema": replace(_with(FieldSchema("octets", "binary_vector", dimension=8)), dynamic=True)}, ""),
    ],
)
def test_each_fact_decides(fact: dict[str, Any], said: str) -> None:
    found = obstacle(**{**GOOD, **fact})
    assert bool(found) == bool(said)
    assert re.search(said, found)


def test_a_file_holds_the_same_values_as_plain_lists() -> None:
    schema = replace(_with(FieldSchema("octets", "binary_vector", dimension=16)), dynamic=True)
    rows = [
        {"id": i, "vector": [float(i), 0.5], "octets": bytes([i, 255 - i]), "more": {"n": i}}
        for i in range(10)
    ]
    batch = to_columns(schema, rows).slice(3, 4)
    found = file_batch(schema, batch)
    assert found.schema == file_schema(schema)
    assert found.schema.field("vector").type == pa.list_(pa.float32())
    assert found.column("octets").to_pylist() == [[i, 255 - i] for i in range(3, 7)]
    assert found.column("vector").to_pylist() == [[float(i), 0.5] for i in range(3, 7)]
    assert found.column("$meta").to_pylist() == [f'{{"more":{{"n":{i}}}}}' for i in range(3, 7)]
