"""Pages of rows as a server sends them, made Arrow columns without touching the rows one by one.

pymilvus makes a dictionary of every row and a Python float of every number: 40 microseconds for a row of 384.
The answer is columns already, and the numbers of a vector lie in it as they lie in memory: they are cut out
of the answer's bytes (protobuf's wire format: https://protobuf.dev/programming-guides/encoding/), and all the
rest is left to the generated classes. Messages: https://github.com/milvus-io/milvus-proto (schema.proto).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pymilvus.client.prepare import Prepare
from pymilvus.client.utils import check_status
from pymilvus.decorators import retry_on_rpc_failure
from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

from ops_pipelines.adapters._milvus_rows import no_order
from ops_pipelines.errors import Refused
from ops_pipelines.policy.rowcolumns import (
    DYNAMIC,
    PLAIN,
    SPARSE,
    SPARSE_PAIR,
    Batch,
    columns_of,
    json_text,
    type_of,
)
from ops_pipelines.policy.vectors import CollectionSchema, FieldSchema

_STATUS, _FIELDS = 1, 2
"""Fields of QueryResults."""
_NAME, _VECTORS, _VALID = 2, 4, 7
"""Fields of FieldData."""
_FLOATS, _SPARSE = 2, 6
"""Fields of VectorField."""
_VARINT, _LONG, _BYTES, _SHORT = 0, 1, 2, 5
"""Wire types."""
_SCALARS = {
    "bool": "bool_data",
    "int8": "int_data",
    "int16": "int_data",
    "int32": "int_data",
    "int64": "long_data",
    "float": "float_data",
    "double": "double_data",
    "varchar": "string_data",
    "json": "json_data",
}


_AS_TEXT = ("geometry", "timestamptz")
_QUERY = "/milvus.proto.milvus.MilvusService/Query"


@retry_on_rpc_failure()  # type: ignore[untyped-decorator]
def raw_query(connection: Any, context: Any, *, timeout: float, **asked: Any) -> bytes:
    """The answer to a query as it came. Repeated as pymilvus repeats its own calls; raises MilvusException.

    `asked` are the arguments of its `query`. Rows come in order of their keys (`iterator`), unlike without."""
    request = Prepare.query_request(
        use_default_consistency=True, iterator="True", reduce_stop_for_best="True", **asked
    )
    call = connection._final_channel.unary_unary(
        _QUERY, request_serializer=milvus_pb2.QueryRequest.SerializeToString, response_deserializer=None
    )
    content: bytes = call(request, timeout=timeout, metadata=context.to_grpc_metadata())
    status = next((value for number, value in _walk(memoryview(content)) if number == _STATUS), b"")
    check_status(common_pb2.Status.FromString(bytes(status)))
    return content


def last_key(keys: Any, before: Any, what: str) -> Any:
    """The last key of a page. Raises Refused where the page is not in order: some rows would be missed."""
    first, last = keys[0].as_py(), keys[len(keys) - 1].as_py()
    ordered = len(keys) == 1 or pc.all(pc.less_equal(keys[:-1], keys[1:])).as_py()
    if not ordered or (before is not None and first <= before):
        raise no_order(what)
    return last


def page(content: bytes, schema: CollectionSchema, what: str) -> Batch | None:
    """The rows of one answer (QueryResults), or None where it has none.

    Raises Refused where a column is not there."""
    found: dict[str, memoryview] = {}
    for number, value in _walk(memoryview(content)):
        if number == _FIELDS:
            name = next(bytes(part).decode() for key, part in _walk(value) if key == _NAME)
            found[name] = value
    if not found:
        return None
    key = schema.primary
    if key.name not in found:
        raise _lacking(what, key.name)
    keys = _column(key, found[key.name], None)
    count = len(keys)
    if not count:
        return None
    columns = []
    for field in schema.stored:
        if field.name not in found:
            raise _lacking(what, field.name)
        columns.append(keys if field is key else _column(field, found[field.name], count))
    if schema.dynamic:
        if DYNAMIC not in found:
            raise _lacking(what, DYNAMIC)
        columns.append(_column(FieldSchema(DYNAMIC, "json"), found[DYNAMIC], count))
    return pa.record_batch(columns, schema=columns_of(schema))


def _lacking(what: str, column: str) -> Refused:
    return Refused(
        f"the server gives the rows of {what} without their {column}, so a backup would lose it",
        remedy="report the server's version and the collection's schema",
    )


def _walk(content: memoryview) -> Iterator[tuple[int, Any]]:
    """(number, value) of each field of a message: a slice for what has a length, else a number or None."""
    at, end = 0, len(content)
    while at < end:
        tag, at = _varint(content, at)
        number, wire = tag >> 3, tag & 7
        if wire == _BYTES:
            size, at = _varint(content, at)
            yield number, content[at : at + size]
            at += size
        elif wire == _VARINT:
            value, at = _varint(content, at)
            yield number, value
        else:
            yield number, None
            at += 8 if wire == _LONG else 4


def _varint(content: memoryview, at: int) -> tuple[int, int]:
    shift = value = 0
    while True:
        octet = content[at]
        at += 1
        value |= (octet & 0x7F) << shift
        if octet < 0x80:
            return value, at
        shift += 7


def _column(field: FieldSchema, content: memoryview, count: int | None) -> Any:
    """The column of one FieldData, of `count` rows where that is known already."""
    if field.type == "float_vector":
        return _float_vectors(field, content, count or 0)
    data = schema_pb2.FieldData.FromString(bytes(content))
    valid = np.fromiter(data.valid_data, np.bool_, len(data.valid_data)) if data.valid_data else None
    if field.type == "sparse_float_vector":
        return _sparse(data.vectors.sparse_float_vector.contents, valid)
    if field.type.endswith("_vector"):
        return _octets(getattr(data.vectors, field.type), valid, count or 0)
    if field.type == "array":
        kind = field.element or "varchar"
        items = [list(getattr(one, _SCALARS[kind]).data) for one in data.scalars.array_data.data]
        return pa.array(_spread(items, valid), type_of(field))
    if field.type in _AS_TEXT:
        return pa.array(_spread(_texts(field, data.scalars), valid), pa.string())
    values: Any = getattr(data.scalars, _SCALARS[field.type]).data
    if field.type == "json":
        values = ["{}" if text == b"{}" else json_text(json.loads(text or b"null")) for text in values]
    if valid is None and field.type not in ("varchar", "json"):
        return pa.array(np.fromiter(values, PLAIN[field.type].to_pandas_dtype(), len(values)))
    return pa.array(_spread(values, valid), type_of(field))


def _texts(field: FieldSchema, scalars: Any) -> Sequence[str]:
    """Values that a server tells as text. Raises Refused where it tells them otherwise."""
    kind = scalars.WhichOneof("data")
    values: Sequence[Any] = getattr(scalars, kind).data if kind else ()
    if any(not isinstance(value, str) for value in values):
        raise Refused(
            f"the server tells the values of {field.name} ({field.type}) as {kind}, which is not read yet",
            remedy="set `backup: false` for the collection, or report the server's version",
        )
    return values


def _spread(values: Sequence[Any], valid: Any) -> list[Any]:
    """The values with None where there is none. Servers send a stand-in for it, or leave it out."""
    if valid is None:
        return list(values)
    if len(values) == len(valid):
        return [value if here else None for value, here in zip(values, valid, strict=True)]
    rest = iter(values)
    return [next(rest) if here else None for here in valid]


def _float_vectors(field: FieldSchema, content: memoryview, count: int) -> Any:
    valid = _valid(content)
    flat = np.frombuffer(b"", "<f4")
    for number, vectors in _walk(content):
        if number == _VECTORS:
            floats = next((part for key, part in _walk(vectors) if key == _FLOATS), memoryview(b""))
            runs = [np.frombuffer(run, "<f4") for _, run in _walk(floats) if run is not None]
            flat = runs[0] if len(runs) == 1 else np.concatenate(runs) if runs else flat
    size = field.dimension or 0
    if valid is None or valid.all():
        return pa.FixedSizeListArray.from_arrays(pa.array(flat), size)
    if len(flat) != count * size:
        whole = np.zeros((count, size), np.float32)
        whole[valid] = flat.reshape(-1, size)
        flat = whole.reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), size, mask=pa.array(~valid))


def _valid(content: memoryview) -> Any:
    packed = b"".join(bytes(value) for number, value in _walk(content) if number == _VALID and value)
    return np.frombuffer(packed, np.uint8).astype(np.bool_) if packed else None


def _octets(data: bytes, valid: Any, count: int) -> Any:
    there = count if valid is None else int(valid.sum())
    rows = count if there and len(data) % there else there
    width = len(data) // rows if rows else 0
    pieces = [data[at : at + width] for at in range(0, len(data), width)] if width else []
    return pa.array(_spread(pieces, valid), pa.binary())


def _sparse(contents: Sequence[bytes], valid: Any) -> Any:
    if valid is not None:
        values = [None if c is None else _pairs(c) for c in _spread(contents, valid)]
        return pa.array(values, SPARSE)
    pairs = np.frombuffer(b"".join(contents), SPARSE_PAIR)
    offsets = np.cumsum([0, *(len(content) // SPARSE_PAIR.itemsize for content in contents)])
    falls = np.flatnonzero(np.diff(pairs["index"].astype(np.int64)) <= 0) + 1
    if np.isin(falls, offsets).all():
        items = pa.StructArray.from_arrays(
            [pa.array(np.ascontiguousarray(pairs["index"])), pa.array(np.ascontiguousarray(pairs["weight"]))],
            ["index", "weight"],
        )
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), items)
    return pa.array([_pairs(content) for content in contents], SPARSE)


def _pairs(content: bytes) -> list[Mapping[str, Any]]:
    pairs = np.sort(np.frombuffer(content, SPARSE_PAIR), order="index")
    return [{"index": int(index), "weight": float(weight)} for index, weight in pairs]
