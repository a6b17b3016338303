"""Rows as Arrow columns: the one shape in which they travel between a server, a file and a digest.

A column for each field of the schema, in its order, and `$meta` for the fields that it does not name. Floats
are kept as they are; JSON is text with sorted keys, so that equal values are equal bytes; vectors of octets
(binary, half, int8) are binary, sparse ones lists of (index, weight) in order of the index.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ops_pipelines.policy.vectors import CollectionSchema, FieldSchema

DYNAMIC = "$meta"
"""Column of the fields that the schema does not name, as JSON text."""
Row = Mapping[str, Any]
Batch = Any
"""A pyarrow.RecordBatch with the columns of `columns_of`."""
PLAIN: Mapping[str, Any] = {
    "bool": pa.bool_(),
    "int8": pa.int8(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "varchar": pa.string(),
    "json": pa.string(),
    "geometry": pa.string(),
    "timestamptz": pa.string(),
}
SPARSE = pa.list_(pa.struct([("index", pa.uint32()), ("weight", pa.float32())]))
SPARSE_PAIR = np.dtype([("index", "<u4"), ("weight", "<f4")])
"""How servers, and digests, pack one pair of a sparse vector."""


def type_of(field: FieldSchema) -> Any:
    """Arrow type of a field's column."""
    if field.type == "float_vector":
        return pa.list_(pa.float32(), field.dimension)
    if field.type == "sparse_float_vector":
        return SPARSE
    if field.type == "array":
        return pa.list_(PLAIN[field.element or "varchar"])
    return pa.binary() if field.type.endswith("_vector") else PLAIN[field.type]


def columns_of(schema: CollectionSchema) -> Any:
    """Arrow schema of a collection's rows."""
    columns = [pa.field(field.name, type_of(field)) for field in schema.stored]
    return pa.schema([*columns, pa.field(DYNAMIC, pa.string())] if schema.dynamic else columns)


def json_text(value: Any) -> str:
    """JSON with sorted keys: equal values are equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def dynamic_part(schema: CollectionSchema, row: Row) -> dict[str, Any]:
    """The values of a row that the schema does not name."""
    named = {field.name for field in schema.fields}
    return {name: value for name, value in row.items() if name not in named}


def to_columns(schema: CollectionSchema, rows: Sequence[Row]) -> Batch:
    """Rows as plain Python has them, as a batch."""
    arrays = [_array(field, rows) for field in schema.stored]
    if schema.dynamic:
        texts = [json_text(dynamic_part(schema, row)) for row in rows]
        arrays.append(pa.array(texts, pa.string()))
    return pa.record_batch(arrays, schema=columns_of(schema))


def _array(field: FieldSchema, rows: Sequence[Row]) -> Any:
    values = [row.get(field.name) for row in rows]
    if field.type == "float_vector" and all(value is not None for value in values):
        flat = np.asarray(values, dtype=np.float32).reshape(-1)
        return pa.FixedSizeListArray.from_arrays(pa.array(flat), field.dimension)
    if field.type == "sparse_float_vector":
        values = [
            None if value is None else [{"index": i, "weight": w} for i, w in sorted(value.items())]
            for value in values
        ]
    if field.type == "json":
        values = [None if value is None else json_text(value) for value in values]
    return pa.array(values, type_of(field))


def to_rows(schema: CollectionSchema, batch: Batch) -> list[dict[str, Any]]:
    """The rows of a batch in plain Python; float vectors are float32 arrays."""
    columns = {field.name: _values(batch.column(field.name), field) for field in schema.stored}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    if schema.dynamic:
        for row, text in zip(rows, batch.column(DYNAMIC).to_pylist(), strict=True):
            row.update(json.loads(text))
    return rows


def _values(column: Any, field: FieldSchema) -> Sequence[Any]:
    if field.type == "float_vector" and column.null_count == 0:
        flat = column.flatten().to_numpy(zero_copy_only=False)
        return list(flat.reshape(-1, field.dimension))
    values: list[Any] = column.to_pylist()
    if field.type == "json":
        return [None if value is None else json.loads(value) for value in values]
    if field.type == "sparse_float_vector":
        return [None if v is None else {item["index"]: item["weight"] for item in v} for v in values]
    return values
