"""The sweep on a real bucket: what nobody refers to goes, and while anything is unknown nothing does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.engines.lease import take_drill_lease, take_lease
from ops_pipelines.engines.prune import prune
from ops_pipelines.engines.snapshots import list_snapshots, load_manifest, mark
from ops_pipelines.engines.sweep import sweep, sweep_plan
from ops_pipelines.errors import FormatTooNew, LeaseLost, OpsError, SnapshotDamaged, SnapshotLate
from ops_pipelines.policy.plan import Plan
from ops_pipelines.policy.swept import encode
from ops_pipelines.stack.operations import Keep
from tests.engines.snapshot_kit import LAYOUT, FreeFence, commit, keys, put_blob
from tests.servers.seaweed import Seaweed

SOON = timedelta(seconds=-5)
"""A grace period that has passed for everything: store times are whole seconds."""


def do_sweep(store: S3Store, grace: timedelta = SOON) -> Plan:
    return sweep(store, LAYOUT, holder="sweeper", ttl=60.0, grace=grace)


def blob_of(content: bytes, store: S3Store) -> str:
    return LAYOUT.blob(put_blob(store, content).sha256)


def test_only_what_no_stack_refers_to_goes(store: S3Store) -> None:
    commit(store, contents=(b"shared", b"mine"))
    commit(store, stack="other", contents=(b"shared", b"theirs"))
    waste = blob_of(b"waste", store)
    store.put("ops/notes.txt", b"somebody's")
    store.put("blobs/sha256/aa/" + "a" * 64, b"below another prefix")
    before = keys(store)
    plan = sweep_plan(store, LAYOUT, grace=SOON)
    assert keys(store) == before
    assert [(step.verb, step.subject, step.size) for step in plan.steps] == [
        ("remove", f"blob/{waste[-64:]}", len(b"waste"))
    ]
    assert do_sweep(store).steps == plan.steps
    assert keys(store) == [key for key in before if key != waste]
    assert do_sweep(store).empty


def test_a_manifest_written_after_its_lease_was_lost_is_no_snapshot(store: S3Store) -> None:
    """Its backup slept, somebody swept what it counts on, and it was killed as soon as it had written it."""
    kept = commit(store, suffix="aaaaaa", fence=1)
    blob_of(b"waste", store)
    with take_lease(
        store, LAYOUT, "chat", holder="a", purpose="backup", ttl=60, clock=lambda: datetime.now(UTC)
    ):
        pass
    assert len(do_sweep(store).changes) == 1
    late = commit(store, suffix="bbbbbb", contents=(b"counted on",), fence=1)
    in_time = commit(store, suffix="cccccc", fence=3)
    states = {one.id: one.state for one in list_snapshots(store, LAYOUT, "chat")}
    assert states == {kept: "complete", late: "incomplete", in_time: "complete"}
    with pytest.raises(SnapshotLate, match="lost the lease"):
        load_manifest(store, LAYOUT, "chat", late)
    assert sweep_plan(store, LAYOUT).empty, "it is young"
    subjects = [step.subject for step in do_sweep(store).steps]
    assert [subject.split("/", 1)[0] for subject in subjects] == ["blob", "late"]
    assert [one.id for one in list_snapshots(store, LAYOUT, "chat")] == [in_time, kept]


def test_tokens_go_on_where_somebody_deleted_the_lease(store: S3Store) -> None:
    blob_of(b"waste", store)
    commit(store)
    for _ in range(3):
        blob_of(b"waste", store)
        assert do_sweep(store).changes
    store.delete([LAYOUT.lease("chat")])
    with take_lease(
        store, LAYOUT, "chat", holder="a", purpose="backup", ttl=60, clock=lambda: datetime.now(UTC)
    ) as fence:
        new = commit(store, suffix="bbbbbb", fence=fence.token)
    assert load_manifest(store, LAYOUT, "chat", new).fence == 4


def test_a_sweep_that_slept_removes_nothing(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one said in between what it found."""
    commit(store)
    waste = blob_of(b"waste", store)
    honest = S3Store.put

    def late(self: S3Store, key: str, body: bytes, **condition: Any) -> str:
        if key == LAYOUT.swept("chat"):
            honest(self, key, encode(9, []))
        return honest(self, key, body, **condition)

    monkeypatch.setattr(S3Store, "put", late)
    with pytest.raises(LeaseLost, match="another sweep"):
        do_sweep(store)
    assert waste in keys(store)


def test_young_waste_stays(store: S3Store) -> None:
    blob_of(b"waste", store)
    assert do_sweep(store, timedelta(hours=24)).empty
    assert sweep_plan(store, LAYOUT).empty


def test_what_a_killed_run_left_on_its_way_to_a_server_goes_once_it_is_old(store: S3Store) -> None:
    commit(store)
    before = keys(store)
    left = [
        f"{LAYOUT.staging('chat', 'traces')}{name}" for name in ("backup/.backup", "backup/data/t/count.txt")
    ]
    for key in left:
        store.put(key, b"on its way")
    store.put("staging/theirs", b"somebody's")
    assert do_sweep(store, timedelta(hours=24)).empty, "a server may still read it"
    plan = do_sweep(store)
    assert [(step.verb, step.subject) for step in plan.steps] == [
        ("remove", f"staging/{key}") for key in left
    ]
    assert keys(store) == sorted([*before, "staging/theirs"])


def test_after_a_prune_only_its_own_content_goes(store: S3Store) -> None:
    old = commit(store, days_ago=50, contents=(b"shared", b"old"))
    new = commit(store, contents=(b"shared", b"new"))
    for snapshot in (old, new):
        mark(store, LAYOUT, "chat", snapshot, "verified", {})
    prune(store, LAYOUT, "chat", Keep(days=30, last=1), fence=FreeFence())
    assert len(do_sweep(store).changes) == 1
    kept = {store.get(key)[0] for key in keys(store, LAYOUT.blobs)}
    assert kept == {b"shared", b"new"}


def test_unfinished_uploads_and_marks_of_nothing_go(store: S3Store, seaweed: Seaweed, bucket: str) -> None:
    client = seaweed.client()
    client.create_multipart_upload(Bucket=bucket, Key=f"{LAYOUT.blobs}ab/half")
    client.create_multipart_upload(Bucket=bucket, Key="elsewhere/half")
    mark(store, LAYOUT, "chat", "20200101T000000Z-ffffff", "failed", {})
    kept = commit(store)
    mark(store, LAYOUT, "chat", kept, "verified", {})
    assert do_sweep(store, timedelta(hours=24)).empty
    subjects = [step.subject for step in do_sweep(store).steps]
    assert [subject.split("/", 1)[0] for subject in subjects] == ["mark", "upload"]
    assert [key for key, _, _ in store.unfinished_uploads("")] == ["elsewhere/half"]
    assert [key for key in keys(store, LAYOUT.stacks) if "/marks/" in key] == [
        LAYOUT.mark("chat", kept, "verified")
    ]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda content: content[: len(content) // 2], SnapshotDamaged),
        (lambda _: b"", SnapshotDamaged),
        (lambda content: content.replace(b'"stack":"other"', b'"stack":"third"'), SnapshotDamaged),
        (lambda content: content.replace(b'"format":1', b'"format":2'), FormatTooNew),
    ],
)
def test_one_unreadable_manifest_stops_it_all(
    store: S3Store, change: Callable[[bytes], bytes], error: type[OpsError]
) -> None:
    commit(store)
    snapshot = commit(store, stack="other")
    waste = blob_of(b"waste", store)
    key = LAYOUT.manifest("other", snapshot)
    store.put(key, change(store.get(key)[0]))
    with pytest.raises(error, match="nothing is swept") as caught:
        sweep_plan(store, LAYOUT, grace=SOON)
    assert key in caught.value.remedy
    with pytest.raises(error, match="nothing is swept"):
        do_sweep(store)
    assert store.head(waste) is not None


def test_somebody_at_work_postpones_it(store: S3Store) -> None:
    commit(store)
    commit(store, stack="other")
    waste = blob_of(b"waste", store)
    with take_lease(
        store, LAYOUT, "other", holder="anna", purpose="backup", ttl=60.0, clock=lambda: datetime.now(UTC)
    ):
        plan = do_sweep(store)
    assert plan.empty
    assert "postponed: the stack `other` is being changed by anna: backup" in plan.warnings[0]
    assert store.head(waste) is not None
    assert len(do_sweep(store).changes) == 1


def test_a_first_backup_begun_during_the_sweep_waits(store: S3Store) -> None:
    """A stack that the sweep does not know counts on an old blob: it must not be let in between."""
    blob_of(b"old content", store)
    came: list[str] = []

    def newcomer() -> None:
        with take_lease(
            store,
            LAYOUT,
            "new",
            holder="n",
            purpose="p",
            ttl=60.0,
            clock=lambda: datetime.now(UTC),
            wait=120.0,
        ):
            came.append("in")

    thread = threading.Thread(target=newcomer)

    class Watched(S3Store):
        def delete(self, keys: Sequence[str]) -> None:
            if not thread.ident:
                thread.start()
                thread.join(3.0)
            came.append("deleted")
            super().delete(keys)

    store.__class__ = Watched
    assert len(do_sweep(store).changes) == 1
    thread.join()
    assert came == ["deleted", "in"]


def test_what_is_drilled_is_not_swept_although_it_is_pruned(store: S3Store) -> None:
    drilled = commit(store, contents=(b"drilled",))
    words: dict[str, Any] = {"holder": "driller", "purpose": "drill", "ttl": 60.0, "wait": 0.0}
    with take_drill_lease(store, LAYOUT, "chat", clock=lambda: datetime.now(UTC), **words):
        store.delete([LAYOUT.manifest("chat", drilled)])
        plan = do_sweep(store)
        assert plan.empty
        assert "the drill of the stack `chat` is being changed by driller" in plan.warnings[0]
    assert len(do_sweep(store).changes) == 1


def test_a_lost_lease_stops_it(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    waste = blob_of(b"waste", store)

    def lost(self: object) -> None:
        raise LeaseLost("lost", remedy="")

    monkeypatch.setattr("ops_pipelines.engines._lease_held.HeldLease.check", lost)
    with pytest.raises(LeaseLost):
        do_sweep(store)
    assert store.head(waste) is not None
