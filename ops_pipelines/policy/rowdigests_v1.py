"""Digests of rows as snapshots before scheme 2 hold them: kept so that those still check out."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from ops_pipelines.policy.rowcolumns import Batch, Row, dynamic_part, json_text, to_rows
from ops_pipelines.policy.rowdigests import WIDTH
from ops_pipelines.policy.vectors import CollectionSchema, FieldSchema

_PACKED = {"float": "<f", "double": "<d"}


def row_digests(schema: CollectionSchema, batch: Batch) -> Any:
    """Digest of each row of a batch, as rows of 32 octets."""
    found = b"".join(row_digest(schema, row) for row in to_rows(schema, batch))
    return np.frombuffer(found, np.uint8).reshape(-1, WIDTH)


def row_digest(schema: CollectionSchema, row: Row) -> bytes:
    """SHA-256 of a row's values, field by field: numbers by their bits, vectors by their bytes."""
    digest = hashlib.sha256()
    for field in schema.fields:
        for piece in _pieces(field, row.get(field.name)):
            digest.update(piece)
    if schema.dynamic:
        digest.update(json_text(dynamic_part(schema, row)).encode())
    return digest.digest()


def _pieces(field: FieldSchema, value: Any) -> Iterator[bytes]:
    if value is None:
        yield b"\0"
        return
    content = _content(field.type, field.element, value)
    yield b"\1" + struct.pack("<Q", len(content))
    yield content


def _content(type: str, element: str | None, value: Any) -> bytes:
    if type == "float_vector":
        return np.asarray(value, dtype="<f4").tobytes()
    if type == "sparse_float_vector":
        return b"".join(struct.pack("<Qf", int(i), float(w)) for i, w in sorted(value.items()))
    if type == "varchar":
        return str(value).encode("utf-8", "surrogatepass")
    if type in _PACKED:
        return struct.pack(_PACKED[type], float(value))
    if type == "json":
        return json_text(value).encode()
    if type == "array":
        items = [_content(element or "varchar", None, item) for item in value]
        return b"".join(struct.pack("<Q", len(item)) + item for item in items)
    return bytes(value) if type.endswith("_vector") else str(int(value)).encode()
