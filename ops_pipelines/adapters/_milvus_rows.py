"""Rows of Milvus on the wire: values, filters, how many go in one call."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ops_pipelines.errors import Refused, SchemaMismatch
from ops_pipelines.policy.vectors import CollectionSchema

_CALL_BYTES = 16 * 2**20
"""Rows sent in one call. Servers take 64 MiB (Milvus) or 256 MiB (Lite)."""
_KEYS = 500
"""Keys in one filter."""


def to_server(schema: CollectionSchema, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as pymilvus wants it: it takes a JSON string for JSON text, and int8 vectors as arrays only."""
    out = dict(row)
    for field in schema.fields:
        value = out.get(field.name)
        if value is None:
            continue
        if field.type == "json" and not isinstance(value, dict | list):
            out[field.name] = json.dumps(value)
        elif field.type == "int8_vector" and isinstance(value, bytes):
            out[field.name] = np.frombuffer(value, dtype=np.int8)
    return out


def from_server(schema: CollectionSchema, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row in plain Python: binary, half and int8 vectors are bytes, sparse ones index -> weight."""
    out = dict(row)
    for field in schema.vectors:
        value = out.get(field.name)
        if value is None or field.type == "float_vector":
            continue
        if field.type == "sparse_float_vector":
            out[field.name] = {int(index): float(weight) for index, weight in value.items()}
        else:
            out[field.name] = _octets(value)
    return out


def _octets(value: Any) -> bytes:
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], bytes | bytearray):
        return bytes(value[0])
    return value.tobytes() if isinstance(value, np.ndarray) else bytes(value)


def key_literal(key: str | int) -> str:
    """A primary key inside a filter. pymilvus' own `ids=` leaves quotes and backslashes as they are."""
    if isinstance(key, int):
        return str(key)
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(escapes.get(letter, letter) for letter in key) + '"'


def weight(value: Any) -> int:
    """About how many bytes a value takes on the wire."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, Mapping):
        return sum(8 + weight(item) for item in value.values())
    if isinstance(value, np.ndarray):
        return int(value.nbytes)
    if isinstance(value, list | tuple):
        return 4 * len(value) if not value or isinstance(value[0], int | float) else sum(map(weight, value))
    return 8


def is_one_of(field: str, keys: Sequence[str | int]) -> str:
    """A filter for rows with one of these keys."""
    return f"{field} in [{', '.join(key_literal(key) for key in keys)}]"


def slices(keys: Sequence[str | int]) -> Iterator[Sequence[str | int]]:
    """The keys in runs that fit in one filter."""
    for start in range(0, len(keys), _KEYS):
        yield keys[start : start + _KEYS]


def bites(rows: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The rows in runs of at most _CALL_BYTES, a larger row by itself."""
    run: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        more = weight(row)
        if run and size + more > _CALL_BYTES:
            yield run
            run, size = [], 0
        run.append(row)
        size += more
    if run:
        yield run


def last_key(keys: Sequence[Any], before: Any, what: str) -> Any:
    """The last key of a page. Raises Refused where the page is not in order: some rows would be missed."""
    if (before is not None and keys[0] <= before) or any(a > b for a, b in pairwise(keys)):
        raise no_order(what)
    return keys[-1]


def no_order(what: str) -> Refused:
    """What cannot be paged through without missing rows."""
    return Refused(
        f"the server gives the rows of {what} in no order, so some would be missed",
        remedy="report the server's version; Milvus Lite 3.2 and Milvus from 2.3 on are known to sort them",
    )


def own_keys(name: str, error: SchemaMismatch) -> SchemaMismatch:
    """What a server says that makes its keys itself (auto_id) and takes none."""
    return SchemaMismatch(
        f"{name} makes its keys itself (auto_id), and this server takes no rows with their keys: {error.message}",
        remedy="create it with `auto_id: false`; or let the server copy its own segments",
    )
