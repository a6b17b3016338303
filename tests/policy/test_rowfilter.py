"""Filters: every row one expression, and the rows that it means."""

from __future__ import annotations

from typing import Any

import pytest

from ops_pipelines.errors import UsageError
from ops_pipelines.policy.rowcolumns import to_columns
from ops_pipelines.policy.rowfilter import RowFilter
from ops_pipelines.policy.vectors import CollectionSchema, FieldSchema

SCHEMA = CollectionSchema(
    (
        FieldSchema("id", "int64", primary=True),
        FieldSchema("lang", "varchar", nullable=True),
        FieldSchema("x", "double"),
        FieldSchema("ok", "bool"),
        FieldSchema("doc", "json", nullable=True),
        FieldSchema("tags", "array", element="varchar"),
        FieldSchema("v", "float_vector", dimension=1),
    ),
    dynamic=True,
)
ROWS: list[dict[str, Any]] = [
    {
        "id": 0,
        "lang": "de",
        "x": -1.5,
        "ok": True,
        "doc": {"a": {"b": 1}},
        "tags": ["t"],
        "v": [0.0],
        "loose": 1,
    },
    {"id": 1, "lang": "fr", "x": 0.0, "ok": False, "doc": None, "tags": [], "v": [0.0], "loose": "and"},
    {"id": 2, "lang": None, "x": 2.0, "ok": True, "doc": {"a": [5]}, "tags": ["u", "t"], "v": [0.0]},
    {"id": 3, "lang": "d%_", "x": 3.0, "ok": False, "doc": {"a": "null"}, "tags": [], "v": [0.0], "loose": 3},
]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("id == 1", [1]),
        ("id != 1 and x > 0", [2, 3]),
        ("id in [0, 3]", [0, 3]),
        ("id not in [0, 3]", [1, 2]),
        ("id NOT IN [0, 3] AND x < 1", [1]),
        ("x >= -1.5 && x <= 0 || id == 3", [0, 1, 3]),
        ("!(ok == true)", [1, 3]),
        ("ok == TRUE", [0, 2]),
        ("0 < id < 3", [1, 2]),
        ('lang == "de"', [0]),
        ('lang != "de"', [1, 3]),
        ('not (lang == "de")', [1, 3]),
        ('lang == "de" or id == 2', [0, 2]),
        ("lang is null", [2]),
        ("lang IS NOT NULL", [0, 1, 3]),
        ('lang like "d%"', [0, 3]),
        ('lang like "f_"', [1]),
        ('not (lang like "d%")', [1]),
        ('doc["a"]["b"] == 1', [0]),
        ('doc["a"][0] == 5', [2]),
        ('doc["a"] == "null"', [3]),
        ("loose == 3", [3]),
        ('loose == "and"', [1]),
        ('$meta["loose"] == 1', [0]),
        ("loose is null", [2]),
        ("loose > 0", [0, 3]),
        ("id == 9", []),
        ("id in [0, 1] and", None),
        ("year(id) == 3", None),
        ("id + 1 == 3", None),
        ("__import__('os')", None),
        ("v == 1", None),
        ("lang like 5", None),
        ("(x for x in [1])", None),
        ("", None),
    ],
)
def test_what_a_filter_means(text: str, meant: list[int] | None) -> None:
    batch = to_columns(SCHEMA, ROWS)
    if meant is None:
        with pytest.raises(UsageError, match="cannot be used"):
            RowFilter(text, SCHEMA)
        return
    mask = RowFilter(text, SCHEMA).mask(batch)
    assert [row["id"] for row, there in zip(ROWS, mask.tolist(), strict=True) if there] == meant


def test_a_field_that_is_not_there_is_named_where_rows_hold_no_others() -> None:
    with pytest.raises(UsageError, match=r"no field loose.*there are: id, lang"):
        RowFilter("loose == 1", CollectionSchema(SCHEMA.fields))
