"""Digests of rows, column by column: what a row is, whatever its order, its server or its file.

A row's digest (scheme 2) is the SHA-256 of its values one after the other: for each field a byte that says
whether it is null, and its bits, or for what has no fixed length its number of bytes; then the bytes of those,
in order of the fields. The digest of many rows is the sum of theirs, so that it does not hang on their order.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ops_pipelines.policy.rowcolumns import DYNAMIC, SPARSE_PAIR, Batch
from ops_pipelines.policy.vectors import CollectionSchema, FieldSchema

SCHEME = 2
"""What `facts["scheme"]` says of these digests. Snapshots without it have those of `rowdigests_v1`."""
WIDTH = 32
_NUMBERS = {
    "bool": "u1",
    "int8": "<i1",
    "int16": "<i2",
    "int32": "<i4",
    "int64": "<i8",
    "float": "<f4",
    "double": "<f8",
}


def row_digests(schema: CollectionSchema, batch: Batch) -> Any:
    """Digest of each row of a batch, as rows of 32 octets."""
    return digested(schema, batch)[0]


def digested(schema: CollectionSchema, batch: Batch) -> tuple[Any, Any]:
    """Digest of each row of a batch, as rows of 32 octets, and how many bytes each row has."""
    count = len(batch)
    if not count:
        return np.zeros((0, WIDTH), np.uint8), np.zeros(0, np.int64)
    fixed: list[Any] = []
    loose: list[tuple[Any, Any]] = []
    for field in schema.stored:
        column = batch.column(field.name)
        fixed.append(_valid(column).astype(np.uint8).reshape(count, 1))
        width = _fixed(field, column, count)
        if width is None:
            loose.append(_octets(field.type, field.element, column))
            width = _lengths(loose[-1][0])
        fixed.append(width)
    if schema.dynamic:
        loose.append(_octets("json", None, batch.column(DYNAMIC)))
        fixed.append(_lengths(loose[-1][0]))
    table: Any = np.concatenate(fixed, axis=1)
    sizes = np.full(count, table.shape[1], np.int64)
    for offsets, _ in loose:
        sizes += np.diff(offsets)
    return np.frombuffer(_hashed(table, loose), np.uint8).reshape(count, WIDTH), sizes


def _hashed(table: Any, loose: Sequence[tuple[Any, Any]]) -> bytes:
    width = table.shape[1]
    flat = memoryview(table.reshape(-1))
    sha256 = hashlib.sha256
    if not loose:
        return b"".join([sha256(flat[at : at + width]).digest() for at in range(0, len(flat), width)])
    pieces = [(offsets.tolist(), memoryview(data)) for offsets, data in loose]
    found = []
    for row in range(table.shape[0]):
        digest = sha256(flat[row * width : (row + 1) * width])
        for offsets, data in pieces:
            digest.update(data[offsets[row] : offsets[row + 1]])
        found.append(digest.digest())
    return b"".join(found)


def _fixed(field: FieldSchema, column: Any, count: int) -> Any:
    """The bits of a column whose values all have the same length, one row each; None for another one."""
    if field.type == "float_vector":
        if column.null_count:
            flat = np.zeros((count, field.dimension or 0), np.float32)
            flat[_valid(column)] = np.asarray(column.drop_null().flatten()).reshape(-1, field.dimension or 0)
        else:
            flat = np.asarray(column.flatten())
        return np.ascontiguousarray(flat, dtype="<f4").view(np.uint8).reshape(count, -1)
    kind = _NUMBERS.get(field.type)
    if kind is None:
        return None
    if column.null_count:
        column = column.fill_null(False if field.type == "bool" else 0)
    numbers = np.asarray(column.to_numpy(zero_copy_only=False)).astype(kind)
    return np.ascontiguousarray(numbers).view(np.uint8).reshape(count, -1)


def _valid(column: Any) -> Any:
    return column.is_valid().to_numpy(zero_copy_only=False)


def _lengths(offsets: Any) -> Any:
    return np.ascontiguousarray(np.diff(offsets).astype("<u8")).view(np.uint8).reshape(-1, 8)


def _octets(type: str, element: str | None, column: Any) -> tuple[Any, Any]:
    """Offsets and bytes of a column whose values have lengths of their own; a null has none."""
    if type == "sparse_float_vector":
        return _sparse(column)
    if type == "array":
        return _joined([None if v is None else _items(element or "varchar", v) for v in column.to_pylist()])
    if column.null_count:
        column = column.fill_null(b"" if pa.types.is_binary(column.type) else "")
    offsets, data = column.buffers()[1:]
    numbers = np.frombuffer(offsets, "<i4", count=len(column) + 1, offset=4 * column.offset)
    return numbers, data if data is not None else b""


def _sparse(column: Any) -> tuple[Any, Any]:
    if column.null_count:
        column = pa.array([() if value is None else value for value in column.to_pylist()], column.type)
    pairs = column.flatten()
    packed = np.empty(len(pairs), SPARSE_PAIR)
    packed["index"] = pairs.field("index").to_numpy(zero_copy_only=False)
    packed["weight"] = pairs.field("weight").to_numpy(zero_copy_only=False)
    offsets = np.asarray(column.offsets).astype(np.int64)
    return (offsets - offsets[0]) * SPARSE_PAIR.itemsize, packed.tobytes()


def _items(element: str, values: Sequence[Any]) -> bytes:
    if element in _NUMBERS:
        return np.asarray(values, dtype=_NUMBERS[element]).tobytes()
    texts = [value.encode("utf-8", "surrogatepass") for value in values]
    return b"".join(struct.pack("<Q", len(text)) + text for text in texts)


def _joined(values: Sequence[bytes | None]) -> tuple[Any, bytes]:
    lengths = [0, *(len(value or b"") for value in values)]
    return np.cumsum(lengths), b"".join(value or b"" for value in values)


class RowSum:
    """Rows counted, with a digest that does not hang on their order."""

    def __init__(self) -> None:
        self.rows = 0
        self._sum = 0

    def add(self, digests: Any) -> None:
        """Count rows by their digests."""
        self.rows += len(digests)
        # Four octets at a time: a column of so many rows stays below 2**64.
        words = np.ascontiguousarray(digests).view(">u4").astype(np.uint64).sum(axis=0)
        for place, word in enumerate(reversed(words.tolist())):
            self._sum += int(word) << (32 * place)
        self._sum %= 1 << (8 * WIDTH)

    @property
    def digest(self) -> str:
        """Of all rows: the sum of their digests, and how many there are."""
        return hashlib.sha256(f"{self.rows}:{self._sum:064x}".encode()).hexdigest()
