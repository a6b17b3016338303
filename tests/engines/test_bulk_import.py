"""Collections that a real Milvus reads from files by itself, out of the bucket in which it keeps its data."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ops_pipelines.adapters.importdepot import BucketDepot
from ops_pipelines.adapters.milvus import MilvusStore
from ops_pipelines.engines.parts._collection_fill import BulkImport
from ops_pipelines.engines.parts.collection import Choice, CollectionSource, CollectionTarget
from ops_pipelines.engines.ports import Fetch, silent
from ops_pipelines.policy.manifest import FileEntry, Part
from ops_pipelines.policy.plan import Finding, failed
from ops_pipelines.policy.vectors import CollectionSchema, FieldSchema, IndexSchema
from tests.adapters.test_milvus import KEYS
from tests.engines.killed import run_killed
from tests.engines.test_collection_servers import BOTH, KEY, VECTOR, fill, kept, row
from tests.engines.test_part_collection import CUTS, all_rows, part_of
from tests.servers.real_milvus import StoredMilvus

PLAIN = CollectionSchema((KEY, VECTOR), {"vector": IndexSchema("FLAT", "L2")})


@pytest.fixture
def bulk(stored_milvus: StoredMilvus) -> Iterator[BulkImport]:
    """Through the server's own bucket; nothing may be left there."""
    depot = BucketDepot(stored_milvus.bucket, "ops-import/")
    yield BulkImport(depot, least=1)
    assert [one.key for one in stored_milvus.bucket.list("ops-import/")] == []


def numbers(count: int) -> list[dict[str, Any]]:
    return [{"id": i, "vector": [float(i)] * 8} for i in range(count)]


def staged(
    part: Part, fetch: Fetch, store: MilvusStore, scratch: Path, bulk: BulkImport, **more: Any
) -> tuple[CollectionTarget, str, tuple[Finding, ...]]:
    """The target, the place, and what a full check says."""
    target = CollectionTarget(part.name, store, scratch, batch=40, bulk=bulk, **more)
    place = target.stage(part, None if not more else "look", fetch, silent)
    found = target.check(part, place, full=True)
    assert [one for one in failed(found) if one.severity == "error"] == []
    assert list(scratch.iterdir()) == []
    return target, place, found


def test_every_type_that_is_read_from_files_comes_back_bit_for_bit(
    real_milvus: MilvusStore, real_name: str, bulk: BulkImport, tmp_path: Path
) -> None:
    rows = [row(key, number) for number, key in enumerate(KEYS)]
    fill(real_milvus, real_name, BOTH, rows[:9])
    real_milvus.insert(real_name, rows[9:], partition="west")
    part, fetch = kept(real_milvus, real_name, tmp_path / "a")
    before = all_rows(real_milvus, real_name)
    target, place, found = staged(part, fetch, real_milvus, tmp_path / "scratch", bulk)
    assert f"{len(KEYS)} rows came by bulk import of 2 files" in found[0].message
    assert "bit for bit" in found[-1].message
    assert all_rows(real_milvus, place) == before
    west = [one["id"] for page in real_milvus.rows(place, partition="west", fields=()) for one in page]
    assert west == sorted(KEYS[9:])
    assert target.switch(part, place) == f"{real_name}__1"
    assert all_rows(real_milvus, real_name) == before
    assert "by bulk import through s3://" in target.plan(part, "look")[0].detail


def test_octets_tenants_and_some_rows_in_several_files(
    real_milvus: MilvusStore, real_name: str, bulk: BulkImport, tmp_path: Path
) -> None:
    schema = CollectionSchema(
        (KEY, FieldSchema("tenant", "varchar", max_length=64, partition_key=True),
         FieldSchema("vector", "binary_vector", dimension=16)),
        {"vector": IndexSchema("BIN_FLAT", "HAMMING")}, buckets=4, shards=1,
    )  # fmt: skip
    random = np.random.default_rng(1)
    rows = [{"id": i, "tenant": f"t{i % 7}", "vector": random.bytes(2)} for i in range(300)]
    fill(real_milvus, real_name, schema, rows)
    part, fetch = kept(real_milvus, real_name, tmp_path / "a")
    small = replace(bulk, bytes=1200)
    choice = Choice("id < 200")
    _, place, found = staged(part, fetch, real_milvus, tmp_path / "scratch", small, choice=choice)
    assert "200 rows came by bulk import of 3 files" in found[0].message
    assert all_rows(real_milvus, place) == rows[:200]


def test_what_the_server_does_not_read_is_inserted_and_that_is_said(
    real_milvus: MilvusStore, real_name: str, bulk: BulkImport, bucket: str, seaweed: Any, tmp_path: Path
) -> None:
    rows = numbers(300)
    fill(real_milvus, real_name, PLAIN, rows)
    part, fetch = kept(real_milvus, real_name, tmp_path / "a")
    strange = replace(bulk, depot=BucketDepot(seaweed.store(bucket), ""))
    _, place, found = staged(part, fetch, real_milvus, tmp_path / "scratch", strange)
    assert (found[0].ok, found[0].severity) == (False, "warning")
    assert "the bulk import failed" in found[0].message
    assert "rows were inserted" in found[0].message
    assert all_rows(real_milvus, place) == rows
    assert list(seaweed.store(bucket).list("")) == [], "no rows are left in the wrong bucket"
    few = CollectionTarget(part.name, real_milvus, tmp_path / "scratch", bulk=replace(bulk, least=301))
    assert "inserted (300 rows are fewer than 301)" in few.plan(part, "look")[0].detail


class _Dying:
    """Ends this process, as kill -9 does, after the n-th call of a method."""

    def __init__(self, real: Any, word: str, at: int) -> None:
        self._real, self._word, self._left = real, word, at

    def __getattr__(self, word: str) -> Any:
        method = getattr(self._real, word)
        if word != self._word:
            return method

        def call(*args: Any, **words: Any) -> Any:
            done = method(*args, **words)
            self._left -= 1
            if not self._left:
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        return call


def _restore(
    stored: StoredMilvus, part: Part, files: Mapping[str, Path], scratch: Path, word: str = "", at: int = 0
) -> None:
    def fetch(entry: FileEntry, to: Path) -> None:
        shutil.copy(files[entry.sha256], to)

    store: Any = _Dying(MilvusStore.connect(stored.address), word, at)
    depot: Any = _Dying(BucketDepot(stored.bucket, "ops-import/"), word, at)
    bulk = BulkImport(depot, least=1, bytes=6000)
    target = CollectionTarget(part.name, store, scratch, batch=40, bulk=bulk)
    place = target.stage(part, None, fetch, silent)
    assert failed(target.check(part, place, full=True)) == []
    target.switch(part, place)


KILLS = (("give", 1), ("begin_import", 2), ("clear", 2))


@pytest.mark.slow
def test_a_restore_killed_after_any_step_leaves_the_old_rows_or_the_new(
    stored_milvus: StoredMilvus, real_milvus: MilvusStore, real_name: str, bulk: BulkImport, tmp_path: Path
) -> None:
    """kill -9, while the server goes on reading what it was given."""
    store = real_milvus
    fill(store, real_name, PLAIN, numbers(300))
    taken = CollectionSource(real_name, store, cuts=CUTS).capture(tmp_path, silent)
    part = part_of(real_name, taken)
    files = {one.entry.sha256: one.source for one in taken.files}
    store.delete(real_name, list(range(250)))
    scratch = tmp_path / "scratch"
    for word, at in KILLS:
        assert run_killed(_restore, stored_milvus, part, files, scratch, word, at), word
        assert [one["id"] for one in all_rows(store, real_name)] == list(range(250, 300)), word
    assert not run_killed(_restore, stored_milvus, part, files, scratch)
    assert all_rows(store, real_name) == numbers(300)
    target = CollectionTarget(real_name, store, scratch, bulk=bulk)
    assert target.leftovers() == ()
