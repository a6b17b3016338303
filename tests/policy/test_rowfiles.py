"""Where rows are cut into files, and what they are called by."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_pipelines.policy.rowfiles import (
    Cuts,
    Cutter,
    Key,
    Tally,
    file_path,
    key_hash,
    partition_of,
    row_digest,
)
from ops_pipelines.policy.vectors import CollectionSchema, FieldSchema

CUTS = Cuts(least=4, mean=8, most=32)


def files(keys: list[Key], cuts: Cuts = CUTS) -> list[tuple[Key, ...]]:
    cutter = Cutter(cuts)
    found: list[list[Key]] = []
    for key in keys:
        if cutter.begins(key):
            found.append([])
        found[-1].append(key)
    return [tuple(file) for file in found]


@given(st.lists(st.integers(), unique=True).map(sorted))
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
    keys: list[Key] = [key for key in range(10_000) if key_hash(key) % 8]
    assert [len(file) for file in files(keys)[:3]] == [32, 32, 32]


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


def test_the_same_row_in_other_clothes_has_the_same_digest() -> None:
    other = {**ROW, "v": np.array([0, 1], dtype=np.float32), "j": {"m": 2, "k": 1}, "s": {7: 1.0, 1: 0.5}}
    assert row_digest(SCHEMA, dict(reversed(other.items()))) == row_digest(SCHEMA, ROW)


def tally(rows: list[tuple[Key, bytes]], sample: int = 3) -> Tally:
    made = Tally(sample)
    for key, digest in rows:
        made.add(key, digest)
    return made


def test_a_tally_does_not_hang_on_order_and_sees_every_row() -> None:
    rows: list[tuple[Key, bytes]] = [(i, bytes([i]) * 32) for i in range(50)]
    mixed = rows.copy()
    random.Random(3).shuffle(mixed)
    assert (tally(mixed).digest, tally(mixed).sample) == (tally(rows).digest, tally(rows).sample)
    assert len(tally(rows).sample) == 3
    assert len(tally(rows[:2]).sample) == 2
    assert tally(rows[:-1]).digest != tally(rows).digest
    assert tally([*rows[:-1], rows[0]]).digest != tally(rows).digest
    assert tally([(0, bytes(32))]).digest != tally([]).digest
    assert tally(rows, sample=0).sample == []
