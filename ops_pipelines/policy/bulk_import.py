"""Whether a server can read the rows of a collection from files by itself, and how such files look.

What a Milvus server reads was tried on 2.3.5: Parquet, columns by name, vectors and octets as plain lists.
Source of the rest: https://milvus.io/docs/v2.3.x/bulk_insert.md (Parquet since 2.3.4).
"""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa

from ops_pipelines.policy.rowcolumns import Batch, columns_of
from ops_pipelines.policy.vectors import CollectionSchema

_SINCE = (2, 3, 4)
_READ = ("bool", "int8", "int16", "int32", "int64", "float", "double", "varchar", "json", "array", "float_vector",
         "binary_vector")  # fmt: skip
"""Types that a server reads from a file bit for bit."""


def obstacle(schema: CollectionSchema, rows: int | None, version: str, least: int) -> str:
    """Why the rows are to be inserted after all, in words; empty where the server can read them from files.

    `least` is the number of rows below which a file costs more than it saves."""
    if version.startswith("milvus_lite"):
        return "Milvus Lite reads no files"
    found = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", version)
    if found is None:
        return f"whether a server {version} reads files is unknown"
    if tuple(int(number or 0) for number in found.groups()) < _SINCE:
        return f"servers read Parquet since {'.'.join(map(str, _SINCE))}, and this one is {version}"
    if strange := [field for field in schema.stored if field.type not in _READ]:
        return f"a {strange[0].type} ({strange[0].name}) is not read from files"
    if nulls := [field for field in schema.stored if field.nullable]:
        return f"{nulls[0].name} may be null, which is not read from files"
    if schema.functions:
        return f"the server computes {', '.join(f.name for f in schema.functions)} of rows that are inserted"
    if rows is None:
        return "the snapshot does not say how many rows there are"
    return f"{rows} rows are fewer than {least}" if rows < least else ""


def file_schema(schema: CollectionSchema) -> Any:
    """Arrow schema of a file that a server reads."""
    return pa.schema([pa.field(column.name, _listed(column.type)) for column in columns_of(schema)])


def file_batch(schema: CollectionSchema, batch: Batch) -> Batch:
    """Rows with the columns of `file_schema`."""
    wanted = file_schema(schema)
    columns = [
        _octets(column, wide) if pa.types.is_binary(column.type) else column.cast(wide)
        for column, wide in zip(batch.columns, wanted.types, strict=True)
    ]
    return pa.record_batch(columns, schema=wanted)


def _listed(type: Any) -> Any:
    """Vectors of a fixed length and octets are lists there."""
    if pa.types.is_fixed_size_list(type):
        return pa.list_(type.value_type)
    return pa.list_(pa.uint8()) if pa.types.is_binary(type) else type


def _octets(column: Any, type: Any) -> Any:
    """Each octet a number: the same bytes under other words."""
    offsets = pa.Array.from_buffers(
        pa.int32(), len(column) + 1, [None, column.buffers()[1]], offset=column.offset
    )
    data = column.buffers()[2] or pa.py_buffer(b"")
    return pa.ListArray.from_arrays(offsets, pa.Array.from_buffers(pa.uint8(), data.size, [None, data])).cast(
        type
    )
