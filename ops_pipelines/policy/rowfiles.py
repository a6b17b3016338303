"""How rows become files: where one file ends and the next begins, and what rows and files are called by.

Boundaries hang on the keys (content-defined chunking), not on counts: a row that is added or taken away
moves no boundary but its own, so every other file keeps its bytes, and its digest, from night to night.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ops_pipelines.policy.vectors import CollectionSchema, FieldSchema

DYNAMIC = "$meta"
"""Column of the fields that the schema does not name, as JSON text."""
Key = str | int


@dataclass(frozen=True)
class Cuts:
    """Rows of a file: a boundary falls on one key in `mean` where the file has `least`, and at `most`."""

    least: int = 1024
    mean: int = 4096
    most: int = 16384


def key_hash(key: Key) -> int:
    """64 bits of a key; 1 and "1" differ."""
    kind = "i" if isinstance(key, int) else "s"
    return int.from_bytes(hashlib.sha256(f"{kind}:{key}".encode("utf-8", "surrogatepass")).digest()[:8])


class Cutter:
    """Says for each key, in order, whether a new file begins with it."""

    def __init__(self, cuts: Cuts) -> None:
        self._cuts = cuts
        self._rows = 0

    def begins(self, key: Key) -> bool:
        """True for the first key of a file; the first of all is one."""
        full = self._rows >= self._cuts.most
        chosen = self._rows >= self._cuts.least and key_hash(key) % self._cuts.mean == 0
        new = self._rows == 0 or full or chosen
        self._rows = 1 if new else self._rows + 1
        return new


def file_path(partition: str, first: Key) -> str:
    """Path of a file of rows inside the part, by its partition and first key."""
    return f"rows/{partition}/{key_hash(first):016x}.parquet"


def partition_of(path: str) -> str | None:
    """Partition whose rows a file holds, or None where it holds no rows."""
    parts = path.split("/")
    return parts[1] if len(parts) == 3 and parts[0] == "rows" and path.endswith(".parquet") else None


def row_digest(schema: CollectionSchema, row: Mapping[str, Any]) -> bytes:
    """SHA-256 of a row's values, field by field: numbers by their bits, vectors by their bytes."""
    digest = hashlib.sha256()
    for field in schema.fields:
        for piece in _pieces(field, row.get(field.name)):
            digest.update(piece)
    if schema.dynamic:
        digest.update(json_text(dynamic_part(schema, row)).encode())
    return digest.digest()


def dynamic_part(schema: CollectionSchema, row: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a row that the schema does not name."""
    named = {field.name for field in schema.fields}
    return {name: value for name, value in row.items() if name not in named}


def json_text(value: Any) -> str:
    """JSON with sorted keys: equal values are equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _pieces(field: FieldSchema, value: Any) -> Iterator[bytes]:
    if value is None:
        yield b"\0"
        return
    content = _content(field.type, field.element, value)
    yield b"\1" + struct.pack("<Q", len(content))
    yield content


_PACKED = {"float": "<f", "double": "<d"}


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


class Tally:
    """Rows counted, with a digest that does not hang on their order, and a sample that does not either."""

    def __init__(self, sample: int = 0) -> None:
        self._sum = 0
        self._keep = sample
        self._sample: list[tuple[int, str, Key, str]] = []
        self.rows = 0

    def add(self, key: Key, digest: bytes) -> None:
        """Count a row. The sample keeps those whose keys have the smallest hashes: the same ones each time."""
        self.rows += 1
        self._sum = (self._sum + int.from_bytes(digest)) % (1 << 256)
        entry = (-key_hash(key), str(key), key, digest.hex()[:32])
        if len(self._sample) < self._keep:
            heapq.heappush(self._sample, entry)
        elif self._keep and entry[:2] > self._sample[0][:2]:
            heapq.heapreplace(self._sample, entry)

    @property
    def digest(self) -> str:
        """Of all rows, whatever their order: the sum of their digests, and how many there are."""
        return hashlib.sha256(f"{self.rows}:{self._sum:064x}".encode()).hexdigest()

    @property
    def sample(self) -> list[tuple[Key, str]]:
        """(key, the first half of the row's digest), in order of the keys' hashes."""
        return [(key, digest) for _, _, key, digest in sorted(self._sample, reverse=True)]
