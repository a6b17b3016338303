"""How rows become files: where one file ends and the next begins, and what files are called by.

Boundaries hang on the keys (content-defined chunking), not on counts: a row that is added or taken away
moves no boundary but its own, so every other file keeps its bytes, and its digest, from night to night.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ops_pipelines.policy.vectors import CollectionSchema

Key = str | int


@dataclass(frozen=True)
class Cuts:
    """Rows of a file: a boundary falls on one key in `mean` where the file has `least`, and at `most`.

    No file holds more than `bytes` of rows either, but for a single larger row: what is in memory at once."""

    least: int = 1024
    mean: int = 4096
    most: int = 16384
    bytes: int = 24 << 20


def key_hash(key: Key) -> int:
    """64 bits of a key; 1 and "1" differ."""
    kind = "i" if isinstance(key, int) else "s"
    return int.from_bytes(hashlib.sha256(f"{kind}:{key}".encode("utf-8", "surrogatepass")).digest()[:8])


def key_hashes(keys: Any) -> Any:
    """64 bits of each key of an Arrow column. Numbers are mixed by splitmix64 (Steele et al., 2014)."""
    if not pa.types.is_integer(keys.type):
        return np.fromiter((key_hash(key) for key in keys.to_pylist()), np.uint64, len(keys))
    mixed = keys.to_numpy(zero_copy_only=False).astype(np.int64).view(np.uint64)
    mixed = mixed + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


class Cutter:
    """Says for rows in order of their keys where a new file begins."""

    def __init__(self, cuts: Cuts) -> None:
        self._cuts = cuts
        self._rows = 0
        self._bytes = 0

    def begins(self, hashes: Any, sizes: Any) -> list[int]:
        """Places in this run of rows at which a file begins; the first row of all does.

        `hashes` are those of the keys, `sizes` the bytes of each row."""
        count = len(hashes)
        marks = np.flatnonzero(hashes % np.uint64(self._cuts.mean) == 0).tolist()
        upto = np.cumsum(sizes)
        found: list[int] = []
        begun, spent = -self._rows, -self._bytes
        if count and not self._rows:
            found.append(0)
        while (place := self._next(begun, spent, marks, upto)) < count:
            found.append(place)
            begun, spent = place, int(upto[place - 1]) if place else 0
        if count:
            self._rows, self._bytes = count - begun, int(upto[-1]) - spent
        return found

    def _next(self, begun: int, spent: int, marks: Sequence[int], upto: Any) -> int:
        """The place after `begun` at which a file begins, by whatever comes first."""
        at = bisect_left(marks, begun + self._cuts.least)
        chosen = marks[at] if at < len(marks) else len(upto)
        heavy = int(np.searchsorted(upto, spent + self._cuts.bytes, side="right"))
        return min(chosen, begun + self._cuts.most, max(heavy, begun + 1, 0))


def file_path(partition: str, first: Key) -> str:
    """Path of a file of rows inside the part, by its partition and first key."""
    return f"rows/{partition}/{key_hash(first):016x}.parquet"


def delta_path(partition: str, first: Key) -> str:
    """Path of a file of rows that are new beside, or in place of, those of files taken over."""
    return f"delta/{partition}/{key_hash(first):016x}.parquet"


def gone_path(partition: str, first: Key) -> str:
    """Path of a file of keys whose rows are no longer there, though files taken over hold them."""
    return f"gone/{partition}/{key_hash(first):016x}.parquet"


def kind_of(path: str) -> tuple[str, str] | None:
    """(`rows`, `delta` or `gone`, the partition) of a file of a collection; None for another file."""
    parts = path.split("/")
    known = len(parts) == 3 and parts[0] in ("rows", "delta", "gone") and path.endswith(".parquet")
    return (parts[0], parts[1]) if known else None


def partition_of(path: str) -> str | None:
    """Partition whose rows a file holds, or None where it holds no rows, or only some beside others."""
    kind = kind_of(path)
    return kind[1] if kind and kind[0] == "rows" else None


def partitions(schema: CollectionSchema) -> tuple[str | None, ...]:
    """Partitions to read one by one; None, the whole, where there is but the default one."""
    return ("_default", *schema.partitions) if schema.partitions else (None,)


def places(firsts: Sequence[Key], keys: Any) -> list[int]:
    """Where, in a sorted column of keys, the range of each first key begins."""
    if pa.types.is_integer(keys.type):
        found = np.searchsorted(keys.to_numpy(zero_copy_only=False), np.asarray(firsts, np.int64))
        return [int(place) for place in found]
    texts = keys.to_pylist()
    return [bisect_left(texts, first) for first in firsts]


class Sample:
    """The rows whose keys have the smallest hashes: the same ones each time, whatever the order."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._found: list[tuple[int, str, Key, str]] = []

    def add(self, keys: Any, hashes: Any, digests: Any) -> None:
        """Offer rows: their keys, the hashes of these, and the rows' digests."""
        if not self._size:
            return
        full = len(self._found) >= self._size
        offered = hashes <= np.uint64(self._found[-1][0]) if full else np.ones(len(hashes), np.bool_)
        for place in np.flatnonzero(offered).tolist():
            key = keys[place].as_py()
            self._found.append((int(hashes[place]), str(key), key, digests[place].tobytes().hex()[:32]))
        self._found = sorted(self._found)[: self._size]

    @property
    def rows(self) -> list[tuple[Key, str]]:
        """(key, the first half of the row's digest), in order of the keys' hashes."""
        return [(key, digest) for _, _, key, digest in self._found]
