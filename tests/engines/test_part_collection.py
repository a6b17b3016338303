"""A collection backed up and restored on a real Milvus Lite, bit for bit, whatever dies in between."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops_pipelines.adapters.milvus import MilvusStore
from ops_pipelines.engines.parts._row_capture import RowCapture, Stored
from ops_pipelines.engines.parts._row_merge import rows_of
from ops_pipelines.engines.parts.collection import Choice, CollectionSource, CollectionTarget
from ops_pipelines.engines.ports import Capture, Fetch, silent
from ops_pipelines.errors import (
    FormatTooNew,
    PartFailed,
    Refused,
    SnapshotDamaged,
    Unreachable,
    UsageError,
)
from ops_pipelines.policy.manifest import FileEntry, Manifest, Part, decode, encode
from ops_pipelines.policy.plan import failed
from ops_pipelines.policy.rowcolumns import to_columns, to_rows
from ops_pipelines.policy.rowdigests import RowSum, row_digests
from ops_pipelines.policy.rowfiles import Cuts
from ops_pipelines.policy.vectors import CollectionSchema, FieldSchema, IndexSchema
from tests.adapters.test_milvus import EVERYTHING, KEYS, bits, everything
from tests.servers.milvus import MilvusLite

DOCS = CollectionSchema(
    fields=(
        FieldSchema("id", "varchar", primary=True, max_length=64),
        FieldSchema("text", "varchar", max_length=65535),
        FieldSchema("vector", "float_vector", dimension=8),
    ),
    indexes={"vector": IndexSchema("HNSW", "COSINE")},
)
CUTS = Cuts(least=16, mean=32, most=128)


def docs(count: int) -> list[dict[str, Any]]:
    random = np.random.default_rng(7)
    vectors = random.standard_normal((count, 8)).astype(np.float32)
    return [
        {
            "id": hashlib.sha256(str(i).encode()).hexdigest()[:32],
            "text": f"text {i}",
            "vector": vectors[i].tolist(),
        }
        for i in range(count)
    ]


def fill(store: MilvusStore, name: str, schema: CollectionSchema, rows: Sequence[Mapping[str, Any]]) -> None:
    """A live collection behind its alias, as `ensure` makes it."""
    store.create(f"{name}__1", schema)
    if rows:
        store.insert(f"{name}__1", rows)
    store.build_indexes(f"{name}__1", schema)
    store.load(f"{name}__1")
    store.point_alias(name, f"{name}__1")


def capture(store: MilvusStore, name: str, folder: Path, **more: Any) -> Capture:
    folder.mkdir()
    return CollectionSource(name, store, cuts=CUTS, batch=50, **more).capture(folder, silent)


def part_of(name: str, capture: Capture) -> Part:
    """The part as a manifest gives it back."""
    part = Part("collection", name, tuple(c.entry for c in capture.files), capture.facts)
    manifest = Manifest("20261121T020000Z-1f3a9c", "toy", "2026-11-21T02:00:00+00:00", (part,))
    return decode(encode(manifest), where="a test").parts[0]


def fetch_from(capture: Capture) -> Fetch:
    sources = {c.entry.sha256: c.source for c in capture.files}

    def fetch(entry: FileEntry, to: Path) -> None:
        source = sources[entry.sha256]
        assert source is not None
        assert hashlib.sha256(source.read_bytes()).hexdigest() == entry.sha256
        shutil.copy(source, to)

    return fetch


def digests(capture: Capture) -> dict[str, str]:
    return {c.entry.path: c.entry.sha256 for c in capture.files}


def all_rows(store: MilvusStore, name: str) -> list[Mapping[str, Any]]:
    return [row for page in store.rows(name) for row in page]


@pytest.fixture
def name(collection_name: str) -> str:
    return collection_name


def test_every_type_is_restored_bit_for_bit(vector_store: MilvusStore, name: str, tmp_path: Path) -> None:
    rows = [everything(key, number) for number, key in enumerate(KEYS)]
    fill(vector_store, name, EVERYTHING, rows[:9])
    vector_store.insert(name, rows[9:], partition="west")
    taken = capture(vector_store, name, tmp_path / "a")
    assert taken.consistency == "quiesced"
    part = part_of(name, taken)
    assert (part.facts["rows"], part.facts["primary"], part.facts["physical"], part.facts["alias"]) == (
        len(KEYS), "id", f"{name}__1", name,
    )  # fmt: skip
    target = CollectionTarget(name, vector_store, tmp_path / "scratch", batch=4)
    place = target.stage(part, None, fetch_from(taken), silent)
    restored = all_rows(vector_store, place)
    assert restored == sorted(rows, key=lambda row: row["id"])
    assert [bits(row) for row in restored] == [bits(row) for row in all_rows(vector_store, name)]
    west = [row["id"] for page in vector_store.rows(place, partition="west", fields=()) for row in page]
    assert west == sorted(KEYS[9:])
    for full in (True, False):
        findings = target.check(part, place, full=full)
        assert failed(findings) == []
        assert "bit for bit" in findings[-1].message
    assert target.leftovers() == (place,)
    again = capture(vector_store, place, tmp_path / "b")
    assert {k: v for k, v in digests(again).items() if k != "schema.json"} == {
        k: v for k, v in digests(taken).items() if k != "schema.json"
    }
    assert again.facts["digest"] == taken.facts["digest"]
    assert not list((tmp_path / "scratch").iterdir())


def test_unchanged_gives_the_same_files_and_one_row_changes_one(
    vector_store: MilvusStore, name: str, tmp_path: Path
) -> None:
    rows = docs(1000)
    fill(vector_store, name, DOCS, rows)
    first = capture(vector_store, name, tmp_path / "a")
    assert len(first.files) > 10
    assert digests(capture(vector_store, name, tmp_path / "b")) == digests(first)

    vector_store.upsert(name, [{**rows[500], "text": "another"}])
    changed = digests(capture(vector_store, name, tmp_path / "c"))
    assert changed.keys() == digests(first).keys()
    assert sum(changed[path] != digest for path, digest in digests(first).items()) == 1

    vector_store.delete(name, [rows[3]["id"]])
    gone = set(digests(capture(vector_store, name, tmp_path / "d")).values())
    assert len(gone - set(changed.values())) <= 2


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda row: {**row, "vector": [float(np.nextafter(np.float32(row["vector"][0]), np.float32(9))),
                                        *row["vector"][1:]]}, "differ"),
        (lambda row: {**row, "text": row["text"] + " "}, "differ"),
        (lambda row: None, "holds 59 rows of 60"),
    ],
)  # fmt: skip
def test_a_copy_with_one_bit_off_is_found(
    vector_store: MilvusStore, name: str, tmp_path: Path, full: bool, harm: Callable[[Any], Any], said: str
) -> None:
    fill(vector_store, name, DOCS, docs(60))
    taken = capture(vector_store, name, tmp_path / "a")
    target = CollectionTarget(name, vector_store, tmp_path / "scratch")
    part = part_of(name, taken)
    place = target.stage(part, None, fetch_from(taken), silent)
    row = dict(vector_store.get(place, [docs(60)[30]["id"]])[0])
    harmed = harm(row)
    if harmed:
        vector_store.upsert(place, [harmed])
    else:
        vector_store.delete(place, [row["id"]])
    found = failed(target.check(part, place, full=full))
    assert found
    assert said in " ".join(finding.message for finding in found)
    assert all(finding.remedy for finding in found)


def test_a_copy_of_another_shape_is_found(vector_store: MilvusStore, name: str, tmp_path: Path) -> None:
    fill(vector_store, name, DOCS, docs(5))
    part = part_of(name, capture(vector_store, name, tmp_path / "a"))
    target = CollectionTarget(name, vector_store, tmp_path / "scratch")
    other = replace(DOCS, indexes={"vector": IndexSchema("HNSW", "L2")})
    vector_store.create(f"{name}__restore_odd", other)
    vector_store.build_indexes(f"{name}__restore_odd", other)
    vector_store.insert(f"{name}__restore_odd", docs(5))
    vector_store.load(f"{name}__restore_odd")
    found = failed(target.check(part, "odd", full=True))
    assert ["index metric" in finding.message for finding in found] == [True]
    assert [f.ok for f in target.check(part, "never_staged", full=True)] == [False]


def test_empty_is_restored_empty_and_missing_is_refused(
    vector_store: MilvusStore, name: str, tmp_path: Path
) -> None:
    with pytest.raises(PartFailed, match="is not there"):
        capture(vector_store, name, tmp_path / "a")
    fill(vector_store, name, DOCS, [])
    taken = capture(vector_store, name, tmp_path / "b")
    assert taken.facts["rows"] == 0
    assert list(digests(taken)) == ["schema.json"]
    target = CollectionTarget(name, vector_store, tmp_path / "scratch")
    part = part_of(name, taken)
    place = target.stage(part, None, fetch_from(taken), silent)
    assert vector_store.count(place) == 0
    for full in (True, False):
        assert failed(target.check(part, place, full=full)) == []


def test_huge_texts(vector_store: MilvusStore, name: str, tmp_path: Path) -> None:
    rows = [{**row, "text": "é" * 30_000 + row["id"]} for row in docs(40)]
    fill(vector_store, name, DOCS, rows)
    taken = capture(vector_store, name, tmp_path / "a")
    target = CollectionTarget(name, vector_store, tmp_path / "scratch")
    part = part_of(name, taken)
    place = target.stage(part, None, fetch_from(taken), silent)
    assert failed(target.check(part, place, full=True)) == []


def test_rows_that_come_while_reading_make_it_fuzzy(
    vector_store: MilvusStore, name: str, tmp_path: Path
) -> None:
    rows = docs(120)
    fill(vector_store, name, DOCS, rows[:100])
    late = iter(rows[100:])

    def progress(step: str, done: int, total: int | None, unit: str) -> None:
        vector_store.insert(name, [next(late)])

    taken = CollectionSource(name, vector_store, cuts=CUTS, batch=50).capture(tmp_path, progress)
    assert taken.consistency == "fuzzy"
    assert taken.facts["rows_before"] == 100
    assert taken.facts["rows_after"] > 100


def test_the_alias_moves_in_one_step_and_the_old_one_is_kept(
    vector_store: MilvusStore, name: str, tmp_path: Path
) -> None:
    rows = docs(100)
    fill(vector_store, name, DOCS, rows)
    taken = capture(vector_store, name, tmp_path / "a")
    part = part_of(name, taken)
    vector_store.delete(name, [row["id"] for row in rows[:90]])
    target = CollectionTarget(name, vector_store, tmp_path / "scratch")
    plan = target.plan(part, None)
    assert [step.verb for step in plan] == ["create", "switch"]
    assert f"{name}__1" in plan[1].detail
    place = target.stage(part, None, fetch_from(taken), silent)

    seen: set[int] = set()
    stop = threading.Event()

    def client() -> None:
        while not stop.is_set():
            seen.add(vector_store.count(name))

    thread = threading.Thread(target=client)
    thread.start()
    try:
        kept = target.switch(part, place)
        while 100 not in seen and thread.is_alive():
            pass
    finally:
        stop.set()
        thread.join()
    assert seen <= {10, 100}
    assert kept == f"{name}__1"
    assert vector_store.count(kept) == 10
    assert failed(target.check(part, vector_store.aliases()[name], full=True)) != []
    assert vector_store.count(name) == 100
    assert target.leftovers() == ()

    with pytest.raises(Refused, match="live"):
        target.discard(name)
    with pytest.raises(Refused, match="live"):
        target.discard(vector_store.aliases()[name])
    back = target.switch(part, target.stage(part, None, fetch_from(taken), silent))
    assert back != kept
    assert vector_store.count(kept) == 10
    assert vector_store.count(back) == 100


def test_a_name_that_is_no_alias_yet_makes_room(vector_store: MilvusStore, name: str, tmp_path: Path) -> None:
    vector_store.create(name, DOCS)
    vector_store.insert(name, docs(10))
    vector_store.build_indexes(name, DOCS)
    vector_store.load(name)
    taken = capture(vector_store, name, tmp_path / "a")
    part = part_of(name, taken)
    target = CollectionTarget(name, vector_store, tmp_path / "scratch")
    kept = target.switch(part, target.stage(part, None, fetch_from(taken), silent))
    assert kept.startswith(f"{name}__before_")
    assert vector_store.aliases()[name].startswith(f"{name}__at_")
    assert (vector_store.state(kept), vector_store.count(name)) != (None, 0)


def test_into_is_a_word_beside_and_discard_is_repeatable(
    vector_store: MilvusStore, name: str, tmp_path: Path
) -> None:
    fill(vector_store, name, DOCS, docs(10))
    taken = capture(vector_store, name, tmp_path / "a")
    part = part_of(name, taken)
    target = CollectionTarget(name, vector_store, tmp_path / "scratch")
    place = target.stage(part, "drill-1", fetch_from(taken), silent)
    assert place == f"{name}__restore_drill_1"
    assert [step.verb for step in target.plan(part, "drill-1")] == ["create", "keep"]
    assert target.leftovers() == (place,)
    target.discard("drill-1")
    target.discard(place)
    assert target.leftovers() == ()
    assert vector_store.count(name) == 10


def test_a_restore_needs_nothing_of_the_old_server(
    vector_store: MilvusStore, own_milvus_lite: MilvusLite, name: str, tmp_path: Path
) -> None:
    fill(vector_store, name, DOCS, docs(200))
    taken = capture(vector_store, name, tmp_path / "a")
    part = part_of(name, taken)
    store = own_milvus_lite.connect()
    target = CollectionTarget(name, store, tmp_path / "scratch")
    assert target.switch(part, target.stage(part, None, fetch_from(taken), silent)) == ""
    assert all_rows(store, name) == all_rows(vector_store, name)


def test_a_damaged_file_of_rows_is_no_row(vector_store: MilvusStore, name: str, tmp_path: Path) -> None:
    fill(vector_store, name, DOCS, docs(10))
    taken = capture(vector_store, name, tmp_path / "a")
    part = part_of(name, taken)

    def fetch(entry: FileEntry, to: Path) -> None:
        fetch_from(taken)(entry, to)
        if entry.path.endswith(".parquet"):
            to.write_bytes(to.read_bytes()[:100])

    target = CollectionTarget(name, vector_store, tmp_path / "scratch")
    with pytest.raises(SnapshotDamaged, match="not readable"):
        target.stage(part, None, fetch, silent)
    with pytest.raises(SnapshotDamaged, match=r"no schema\.json"):
        target.stage(replace(part, files=part.files[1:]), None, fetch, silent)


class _Killing:
    """A store that kills the server before the n-th call of one method."""

    def __init__(self, store: MilvusStore, server: MilvusLite, word: str, at: int) -> None:
        self._store = store
        self._server = server
        self._word = word
        self._left = at

    def __getattr__(self, word: str) -> Any:
        method = getattr(self._store, word)
        if word != self._word:
            return method

        def call(*args: Any, **kwargs: Any) -> Any:
            self._left -= 1
            if self._left == 0:
                self._server.kill()
            return method(*args, **kwargs)

        return call


KILLS = (("create", 1), ("insert", 1), ("insert", 3), ("flush", 1), ("build_indexes", 1), ("load", 1), ("drop", 1),
         ("rename", 1), ("load", 2), ("point_alias", 1))  # fmt: skip


@pytest.mark.slow
def test_a_server_killed_before_any_step_leaves_the_old_state_or_the_new(
    own_milvus_lite: MilvusLite, tmp_path: Path
) -> None:
    store = own_milvus_lite.connect(timeout=1)
    rows = docs(300)
    fill(store, "docs", DOCS, rows)
    taken = capture(store, "docs", tmp_path / "a")
    part = part_of("docs", taken)
    store.delete("docs", [row["id"] for row in rows[:250]])
    for word, at in KILLS:
        target = CollectionTarget("docs", _Killing(store, own_milvus_lite, word, at), tmp_path / "scratch")
        with pytest.raises(Unreachable):
            target.switch(part, target.stage(part, None, fetch_from(taken), silent))
        own_milvus_lite.restart()
        store = own_milvus_lite.connect(timeout=1)
        live = store.state("docs")
        assert live is not None
        assert (live.name, live.rows) == ("docs__1", 50), f"killed before {word} {at}"
    target = CollectionTarget("docs", store, tmp_path / "scratch")
    assert target.switch(part, target.stage(part, None, fetch_from(taken), silent)) == "docs__1"
    assert failed(target.check(part, store.aliases()["docs"], full=False)) != []
    assert store.count("docs") == 300
    assert target.leftovers() == ()
    assert [row["id"] for row in all_rows(store, "docs__1")] == sorted(row["id"] for row in rows[250:])


OLD = Path(__file__).parent / "old_collection"
"""What the first version wrote of `EVERYTHING`, with digests of its own (`policy/rowdigests_v1.py`)."""


def test_what_the_first_version_wrote_is_restored_and_checked(
    vector_store: MilvusStore, name: str, tmp_path: Path
) -> None:
    raw = json.loads((OLD / "part.json").read_text())
    part = Part("collection", name, tuple(FileEntry(**file) for file in raw["files"]), raw["facts"])

    def fetch(entry: FileEntry, to: Path) -> None:
        shutil.copy(OLD / entry.path, to)

    target = CollectionTarget(name, vector_store, tmp_path / "scratch")
    place = target.stage(part, None, fetch, silent)
    rows = [everything(key, number) for number, key in enumerate(KEYS)]
    assert all_rows(vector_store, place) == sorted(rows, key=lambda row: row["id"])
    for full in (True, False):
        assert failed(target.check(part, place, full=full)) == []
    vector_store.upsert(place, [{**rows[5], "flag": not rows[5]["flag"]}])
    for full in (True, False):
        assert [finding.ok for finding in failed(target.check(part, place, full=full))] == [False]


def test_some_rows_and_another_name(vector_store: MilvusStore, name: str, tmp_path: Path) -> None:
    rows = [everything(key, number) for number, key in enumerate(KEYS)]
    fill(vector_store, name, EVERYTHING, rows[:9])
    vector_store.insert(name, rows[9:], partition="west")
    taken = capture(vector_store, name, tmp_path / "a")
    part = part_of(name, taken)
    fetch = fetch_from(taken)
    whole = CollectionTarget(name, vector_store, tmp_path / "scratch", batch=4)

    def expect(choice: Choice, meant: list[dict[str, Any]], said: str) -> None:
        target = replace(whole, choice=choice)
        assert said in target.plan(part, "some")[0].detail
        place = target.stage(part, "some", fetch, silent)
        assert all_rows(vector_store, place) == sorted(meant, key=lambda row: row["id"])
        for full in (True, False):
            assert failed(target.check(part, place, full=full)) == []
        assert failed(whole.check(part, place, full=False)) != []
        assert [f.ok for f in replace(target).check(part, place, full=True)] == [None]
        vector_store.delete(place, [meant[0]["id"]])
        assert failed(target.check(part, place, full=True)) != []
        target.discard(place)

    expect(Choice(partitions=("west",)), rows[9:], f"{len(rows) - 9} rows of the partitions west")
    expect(Choice("flag == true"), rows[::2], "where flag == true")
    expect(Choice("i8 < -120", ("_default",)), rows[:8], "of the partitions _default where i8 < -120")
    for wrong in (Choice(partitions=("east",)), Choice("nonsense(")):
        with pytest.raises(UsageError):
            replace(whole, choice=wrong).plan(part, "some")
    with pytest.raises(UsageError, match="take the place of all"):
        replace(whole, choice=Choice("flag == true")).stage(part, None, fetch, silent)

    other = replace(part, facts={**part.facts, "mode": "segments"})
    for call in (whole.plan, lambda *words: whole.stage(*words, fetch, silent)):
        with pytest.raises(FormatTooNew, match="kept as segments"):
            call(other, None)

    named = replace(whole, name=f"{name}_east", choice=Choice("flag == false"))
    assert [step.verb for step in named.plan(part, None)] == ["create", "switch"]
    assert named.switch(part, named.stage(part, None, fetch, silent)) == ""
    assert vector_store.count(f"{name}_east") == len(rows[1::2])
    assert vector_store.count(name) == len(rows)
    with pytest.raises(UsageError, match="already"):
        named.plan(part, None)


def bucket_of(*captures: Capture) -> tuple[dict[str, Path], Stored]:
    """The content that a bucket holds by now, and what tells of it."""
    held = {c.entry.sha256: c.source for capture in captures for c in capture.files if c.source is not None}
    return held, lambda entries: {entry.sha256 for entry in entries if entry.sha256 in held}


def test_a_new_row_costs_a_row_and_not_the_file_of_its_neighbours(
    vector_store: MilvusStore, name: str, tmp_path: Path
) -> None:
    rows = docs(3000)
    fill(vector_store, name, DOCS, rows[:2900])
    memory = tmp_path / "memory" / "rows.arrow"

    def take(word: str, *before: Capture, **more: Any) -> Capture:
        taken = capture(
            vector_store, name, tmp_path / word, memory=memory, stored=bucket_of(*before)[1], **more
        )
        taken.proved()
        return taken

    first = take("a")
    assert digests(take("same", first)) == digests(first)
    assert all(one.stored == "before" for one in take("same2", first).files[1:])

    vector_store.insert(name, rows[2900:2930])
    vector_store.upsert(name, [{**row, "text": "another"} for row in rows[:20]])
    vector_store.delete(name, [row["id"] for row in rows[100:125]])
    second = take("b", first)
    kinds = [one.entry.path.split("/")[0] for one in second.files]
    assert kinds.count("delta") >= 1
    assert kinds.count("gone") == 1
    taken_over = [one for one in second.files if one.stored == "before"]
    assert len(taken_over) > 0.8 * len(first.files)
    sent = sum(one.entry.size for one in second.files if one.source is not None)
    assert sent < 0.2 * sum(one.entry.size for one in first.files)

    plain = capture(vector_store, name, tmp_path / "plain")
    assert second.facts["digest"] == plain.facts["digest"]
    assert second.facts["sample"] == plain.facts["sample"]
    assert second.facts["rows"] == plain.facts["rows"] == 2905

    part = part_of(name, second)
    held, _ = bucket_of(first, second)

    def fetch(entry: FileEntry, to: Path) -> None:
        shutil.copy(held[entry.sha256], to)

    target = CollectionTarget(name, vector_store, tmp_path / "scratch", batch=100)
    place = target.stage(part, None, fetch, silent)
    assert all_rows(vector_store, place) == all_rows(vector_store, name)
    for full in (True, False):
        assert failed(target.check(part, place, full=full)) == []
    some = replace(target, choice=Choice('text == "another"'))
    few = some.stage(part, "few", fetch, silent)
    assert len(all_rows(vector_store, few)) == 20
    assert failed(some.check(part, few, full=True)) == []
    assert not list((tmp_path / "scratch").iterdir())

    (tmp_path / "no folder").write_text("")
    unkept = capture(vector_store, name, tmp_path / "unkept", memory=tmp_path / "no folder" / "rows.arrow")
    unkept.proved()
    assert digests(unkept) == digests(plain)
    gone = capture(vector_store, name, tmp_path / "gone", memory=memory)  # the bucket has lost all
    assert all(one.source is not None for one in gone.files)
    memory.write_bytes(memory.read_bytes()[:-100])
    assert all(one.source is not None for one in take("torn", first, second).files)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1))
def test_whatever_changes_from_night_to_night_each_snapshot_holds_its_rows(tmp_path: Path, seed: int) -> None:
    """No server: pages as it would give them, through files and back."""
    schema = CollectionSchema((FieldSchema("id", "int64", primary=True), FieldSchema("n", "int64")))
    cuts = Cuts(least=16, mean=32, most=64)
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        memory = Path(folder) / "memory" / "rows.arrow"
        held: dict[str, Path] = {}
        now = {chance.randrange(2000): 0 for _ in range(chance.choice([0, 5, 300, 600]))}

        @contextmanager
        def fetched(entry: FileEntry) -> Iterator[Path]:
            yield held[entry.sha256]

        for night in range(6):
            for key in chance.sample(sorted(now), min(len(now), chance.choice([0, 3, 10, 200]))):
                if chance.random() < 0.5:
                    del now[key]
                else:
                    now[key] += 1
            now.update({chance.randrange(2000): 9 for _ in range(chance.choice([0, 3, 10, 100]))})
            rows = [{"id": key, "n": now[key]} for key in sorted(now)]
            page = chance.randrange(1, 60)
            pages = [to_columns(schema, rows[at : at + page]) for at in range(0, len(rows), page)]
            lost = chance.choice([None, None, *sorted(held)])
            there = set(held) - {lost}
            made = Path(folder) / str(night)
            with RowCapture(schema, made, cuts, 10, memory, lambda entries, there=there: there) as taken:
                assert sum(1 for _ in taken.read("_default", iter(pages))) >= bool(rows)
            taken.keep()
            held.update({one.entry.sha256: one.source for one in taken.captured if one.source is not None})
            assert not any(one.entry.sha256 == lost for one in taken.captured if one.source is None)
            facts = {"files": taken.files, "begins": taken.begins}
            part = Part("collection", "x", tuple(one.entry for one in taken.captured), facts)
            assert len({entry.path for entry in part.files}) == len(part.files)

            found = list(rows_of(part, "_default", schema, fetched, batch=7))
            assert [row for _, batch in found for row in to_rows(schema, batch)] == rows
            for path, (count, digest, first, last) in taken.files.items():
                some = [batch for where, batch in found if where == path]
                total = RowSum()
                for batch in some:
                    total.add(row_digests(schema, batch))
                assert (total.rows, total.digest) == (count, digest)
                assert some[0].column("id")[0].as_py() == first
                assert some[-1].column("id")[-1].as_py() == last
