"""Where rows are cut into files, and what they are called by."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_pipelines.policy.rowcolumns import to_columns, to_rows
from ops_pipelines.policy.rowdigests import RowSum, digested, row_digests
from ops_pipelines.policy.rowdigests_v1 import row_digest
from ops_pipelines.policy.rowfiles import (
    Cuts,
    Cutter,
    Key,
    Sample,
    file_path,
    key_hash,
    key_hashes,
    partition_of,
    places,
)
from ops_pipelines.policy.vectors import CollectionSchema, FieldSchema

CUTS = Cuts(least=4, mean=8, most=32)


def files(keys: list[Key], cuts: Cuts = CUTS) -> list[tuple[Key, ...]]:
    """The keys cut into files, handed over in runs as a server's pages come."""
    cutter = Cutter(cuts)
    begins: list[int] = []
    for start in range(0, len(keys), 7):
        run = pa.array(keys[start : start + 7])
        begins += [start + place for place in cutter.begins(key_hashes(run), np.full(len(run), 10))]
    assert begins[:1] == [0] * bool(keys)
    return [tuple(keys[start:end]) for start, end in pairwise([*begins, len(keys)])]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), unique=True).map(sorted))
def test_files_hold_all_keys_in_order_within_the_bounds(keys: list[Key]) -> None:
    cut = files(keys)
    assert [key for file in cut for key in file] == keys
    assert all(len(file) <= CUTS.most for file in cut)
    assert all(len(file) >= CUTS.least for file in cut[:-1])


@given(st.integers(0, 2999), st.booleans())
def test_one_key_more_or_less_leaves_nearly_all_files(at: int, add: bool) -> None:
    keys: list[Key] = [f"{i:06d}" for i in range(3000)]
    before = files(keys)
    changed: list[Key] = [*keys[:at], f"{at:06d}a", *keys[at:]] if add else [*keys[:at], *keys[at + 1 :]]
    new = set(files(sorted(changed, key=str))) - set(before)
    assert len(before) > 100
    assert len(new) <= 8


def test_no_boundary_in_sight_is_cut_at_most() -> None:
    keys: list[Key] = [key for key in range(10_000) if int(key_hashes(pa.array([key]))[0]) % 8]
    assert [len(file) for file in files(keys)[:3]] == [32, 32, 32]


def test_heavy_rows_are_cut_by_their_bytes_and_boundaries_meet_again() -> None:
    keys: list[Key] = list(range(3000))
    heavy = files(keys, Cuts(least=4, mean=8, most=32, bytes=60))
    assert max(len(file) for file in heavy) == 6
    assert [key for file in heavy for key in file] == keys
    less = files(keys[3:], Cuts(least=4, mean=8, most=32, bytes=60))
    assert len(set(less) - set(heavy)) <= 8
    assert [len(file) for file in files([1, 2, 3], Cuts(bytes=5))] == [1, 1, 1]


@given(st.lists(st.integers(0, 200), unique=True).map(sorted), st.booleans())
def test_places_of_first_keys(keys: list[int], text: bool) -> None:
    named: list[Key] = [f"{key:03d}" for key in keys] if text else list(keys)
    firsts: list[Key] = ["050", "100"] if text else [50, 100]
    column = pa.array(named, pa.string() if text else pa.int64())
    assert places(firsts, column) == [sum(key < 50 for key in keys), sum(key < 100 for key in keys)]


def test_a_number_and_its_text_differ() -> None:
    assert key_hash(1) != key_hash("1")
    assert file_path("_default", 1) != file_path("west", 1)
    assert partition_of(file_path("west", "é")) == "west"
    assert [partition_of(path) for path in ("schema.json", "rows/x.parquet", "rows/a/b/c.parquet")] == [
        None
    ] * 3


SCHEMA = CollectionSchema(
    (
        FieldSchema("id", "int64", primary=True),
        FieldSchema("a", "varchar", nullable=True),
        FieldSchema("b", "varchar", nullable=True),
        FieldSchema("x", "double"),
        FieldSchema("f", "float"),
        FieldSchema("j", "json", nullable=True),
        FieldSchema("l", "array", element="varchar"),
        FieldSchema("v", "float_vector", dimension=2),
        FieldSchema("s", "sparse_float_vector"),
        FieldSchema("y", "binary_vector", dimension=8),
        FieldSchema("t", "bool"),
    ),
    dynamic=True,
)
ROW: dict[str, Any] = {
    "id": 1, "a": "ab", "b": "c", "x": 0.5, "f": 0.5, "j": {"k": 1, "m": 2}, "l": ["ab", "c"], "v": [0.0, 1.0],
    "s": {1: 0.5, 7: 1.0}, "y": b"\x01", "t": True, "loose": 1,
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"id": 2}, {"a": "a", "b": "bc"}, {"a": None}, {"a": ""}, {"x": 0.5000000000000001}, {"f": -0.5},
        {"j": {"k": 1, "m": 3}}, {"j": None}, {"l": ["a", "bc"]}, {"l": []}, {"v": [-0.0, 1.0]},
        {"v": [0.0, float(np.nextafter(np.float32(1), np.float32(2)))]}, {"s": {1: 0.5}}, {"s": {2: 0.5, 7: 1.0}},
        {"y": b"\x02"}, {"t": False}, {"loose": 2}, {"more": None},
    ],
)  # fmt: skip
def test_every_change_of_a_row_changes_its_digest(change: dict[str, Any]) -> None:
    assert row_digest(SCHEMA, {**ROW, **change}) != row_digest(SCHEMA, ROW)
    both = row_digests(SCHEMA, to_columns(SCHEMA, [{**ROW, **change}, ROW]))
    assert both[0].tobytes() != both[1].tobytes()


NULLABLE = CollectionSchema(
    (
        *(replace(field, nullable=True) for field in SCHEMA.fields if not field.primary),
        FieldSchema("id", "int64", primary=True),
    ),
    dynamic=True,
)
EMPTY: dict[str, Any] = {"a": "", "b": "", "x": 0.0, "f": 0.0, "j": {}, "l": [], "v": [0.0, 0.0], "s": {},
                         "y": b"", "t": False}  # fmt: skip


@pytest.mark.parametrize("name", EMPTY)
def test_nothing_and_null_differ(name: str) -> None:
    nothing = {**ROW, name: EMPTY[name]}
    both = row_digests(NULLABLE, to_columns(NULLABLE, [nothing, {**nothing, name: None}]))
    assert both[0].tobytes() != both[1].tobytes()


def test_a_digest_hangs_on_the_row_alone_wherever_it_lies_in_a_batch() -> None:
    rows = [
        {**ROW, "id": i, "a": "é" * i if i % 3 else None, "l": ["x"] * (i % 4), "s": {i: 1.0}}
        for i in range(20)
    ]
    batch = to_columns(SCHEMA, rows)
    digests, sizes = digested(SCHEMA, batch)
    for i in range(20):
        alone, size = digested(SCHEMA, to_columns(SCHEMA, rows[i : i + 1]))
        cut, _ = digested(SCHEMA, batch.slice(i, 1))
        assert digests[i].tobytes() == alone[0].tobytes() == cut[0].tobytes()
        assert sizes[i] == size[0]
    assert to_rows(SCHEMA, batch)[7]["a"] == "é" * 7


def test_the_same_row_in_other_clothes_has_the_same_digest() -> None:
    other = {**ROW, "v": np.array([0, 1], dtype=np.float32), "j": {"m": 2, "k": 1}, "s": {7: 1.0, 1: 0.5}}
    assert row_digest(SCHEMA, dict(reversed(other.items()))) == row_digest(SCHEMA, ROW)


def summed(digests: Any) -> str:
    made = RowSum()
    for start in range(0, len(digests), 7):
        made.add(digests[start : start + 7])
    assert made.rows == len(digests)
    return made.digest


def test_a_sum_does_not_hang_on_order_and_sees_every_row() -> None:
    digests = np.random.default_rng(1).integers(0, 256, (50, 32), dtype=np.uint8)
    assert summed(digests[::-1]) == summed(digests)
    assert summed(digests[:-1]) != summed(digests)
    assert summed(np.concatenate([digests[:-1], digests[:1]])) != summed(digests)
    assert summed(np.zeros((1, 32), np.uint8)) != summed(digests[:0])
    total = sum(int.from_bytes(digest.tobytes()) for digest in digests) % (1 << 256)
    assert summed(digests) == hashlib.sha256(f"50:{total:064x}".encode()).hexdigest()


def test_a_sample_is_the_same_in_any_order() -> None:
    keys = pa.array(range(500))
    digests = np.random.default_rng(1).integers(0, 256, (500, 32), dtype=np.uint8)

    def sample(order: Any, size: int) -> list[tuple[Key, str]]:
        made = Sample(size)
        for run in np.array_split(order, 9):
            made.add(keys.take(pa.array(run)), key_hashes(keys)[run], digests[run])
        return made.rows

    straight, mixed = np.arange(500), np.random.default_rng(3).permutation(500)
    assert sample(mixed, 20) == sample(straight, 20)
    assert len(sample(straight, 20)) == 20
    assert dict(sample(mixed, 20)).items() <= dict(sample(straight, 500)).items()
    assert sample(straight, 0) == []
