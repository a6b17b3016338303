"""Rows of a collection as Parquet files, and back, bit for bit.

The same rows give the same bytes: no dictionary, no statistics, no time, groups of a fixed number of rows.
Floats are stored as they are; JSON and dynamic fields are text. A new pyarrow writes its version into a file,
so the first backup after an upgrade stores the rows anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ops_pipelines.errors import SnapshotDamaged
from ops_pipelines.policy.rowfiles import DYNAMIC, dynamic_part, json_text
from ops_pipelines.policy.vectors import CollectionSchema, FieldSchema

Row = Mapping[str, Any]
_GROUP = 1024
"""Rows of a group: what is held in memory at once."""
_PLAIN = {
    "bool": pa.bool_(),
    "int8": pa.int8(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "varchar": pa.string(),
    "json": pa.string(),
}
_SPARSE = pa.list_(pa.struct([("index", pa.uint32()), ("weight", pa.float32())]))


def _type(field: FieldSchema) -> Any:
    if field.type == "float_vector":
        return pa.list_(pa.float32(), field.dimension)
    if field.type == "sparse_float_vector":
        return _SPARSE
    if field.type == "array":
        return pa.list_(_PLAIN[field.element or "varchar"])
    return pa.binary() if field.type.endswith("_vector") else _PLAIN[field.type]


def _columns(schema: CollectionSchema) -> Any:
    columns = [pa.field(field.name, _type(field)) for field in schema.fields]
    return pa.schema([*columns, pa.field(DYNAMIC, pa.string())] if schema.dynamic else columns)


class RowFile:
    """One file that rows are written to, in order."""

    def __init__(self, path: Path, schema: CollectionSchema) -> None:
        self._schema = schema
        self._columns = _columns(schema)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = pq.ParquetWriter(
            path,
            self._columns,
            compression="zstd",
            compression_level=3,
            use_dictionary=False,
            write_statistics=False,
            version="2.6",
            data_page_version="1.0",
        )
        self._waiting: list[Row] = []

    def add(self, row: Row) -> None:
        """Append a row."""
        self._waiting.append(row)
        if len(self._waiting) == _GROUP:
            self._write()

    def _write(self) -> None:
        if self._waiting:
            arrays = [_array(field, self._waiting) for field in self._schema.fields]
            if self._schema.dynamic:
                texts = [json_text(dynamic_part(self._schema, row)) for row in self._waiting]
                arrays.append(pa.array(texts, pa.string()))
            self._writer.write_batch(pa.record_batch(arrays, schema=self._columns))
            self._waiting = []

    def close(self) -> None:
        """Write what waits, and the footer."""
        self._write()
        self._writer.close()


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
    return pa.array(values, _type(field))


def read_rows(path: Path, schema: CollectionSchema, *, batch: int = 1000) -> Iterator[list[dict[str, Any]]]:
    """The rows of a file, `batch` at a time. Float vectors are float32 arrays.

    Raises SnapshotDamaged where it is no Parquet file, or does not hold the schema's columns.
    """
    try:
        with pq.ParquetFile(path) as file:
            if not file.schema_arrow.equals(_columns(schema)):
                raise _damaged(path, "its columns are not those of the collection's schema")
            for piece in file.iter_batches(batch_size=batch):
                yield _rows(piece, schema)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, str(error)) from error


def _rows(piece: Any, schema: CollectionSchema) -> list[dict[str, Any]]:
    columns = {field.name: _values(piece.column(field.name), field) for field in schema.fields}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    if schema.dynamic:
        for row, text in zip(rows, piece.column(DYNAMIC).to_pylist(), strict=True):
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


def _damaged(path: Path, why: str) -> SnapshotDamaged:
    return SnapshotDamaged(
        f"the rows in {path.name} are not readable: {why}",
        remedy="restore from another snapshot (`ops-pipelines snapshots STACK` lists them)",
    )
