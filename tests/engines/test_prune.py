"""Prune on a real bucket."""

from __future__ import annotations

import pytest

from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.engines.prune import prune, prune_plan
from ops_pipelines.engines.snapshots import list_snapshots, mark
from ops_pipelines.errors import FormatTooNew, LeaseLost
from ops_pipelines.stack.operations import Keep
from tests.engines.snapshot_kit import LAYOUT, FreeFence, commit, keys
from tests.servers.faults import Fault, faulty, first
from tests.servers.seaweed import Seaweed

KEEP = Keep(days=30, last=1)


def three(store: S3Store) -> list[str]:
    """Newest first: one of today, and two that are too old."""
    made = [commit(store, days_ago=days, contents=(f"{days}".encode(),)) for days in (0, 40, 50)]
    for snapshot in made:
        mark(store, LAYOUT, "chat", snapshot, "verified", {})
    return made


def test_a_dry_run_changes_nothing_and_says_why(store: S3Store) -> None:
    newest, old, oldest = three(store)
    before = keys(store)
    plan = prune_plan(store, LAYOUT, "chat", KEEP)
    assert keys(store) == before
    assert [(step.verb, step.subject, step.detail, step.size) for step in plan.steps] == [
        ("keep", f"snapshot/{newest}", "the last verified one", 0),
        ("remove", f"snapshot/{old}", "older than 30 days", 2),
        ("remove", f"snapshot/{oldest}", "older than 30 days", 2),
    ]


def test_manifests_and_marks_go_and_blobs_stay(store: S3Store) -> None:
    newest, _, _ = three(store)
    commit(store, stack="other", days_ago=90)
    blobs = keys(store, LAYOUT.blobs)
    fence = FreeFence()
    plan = prune(store, LAYOUT, "chat", KEEP, fence=fence)
    assert len(plan.changes) == fence.checks == 2
    assert [one.id for one in list_snapshots(store, LAYOUT, "chat")] == [newest]
    assert len(list_snapshots(store, LAYOUT, "other")) == 1
    assert keys(store, LAYOUT.blobs) == blobs
    assert prune(store, LAYOUT, "chat", KEEP, fence=fence).empty


def test_a_lost_lease_stops_it(store: S3Store) -> None:
    newest, _, oldest = three(store)
    with pytest.raises(LeaseLost):
        prune(store, LAYOUT, "chat", KEEP, fence=FreeFence(lost_at=2))
    assert [one.id for one in list_snapshots(store, LAYOUT, "chat")] == [newest, oldest]


def test_nothing_goes_while_the_newest_failed(store: S3Store) -> None:
    newest, _, _ = three(store)
    mark(store, LAYOUT, "chat", newest, "failed", {"part": "collection/docs"})
    plan = prune(store, LAYOUT, "chat", KEEP, fence=FreeFence())
    assert plan.empty
    assert newest in plan.steps[0].detail


def test_a_damaged_one_is_a_warning(store: S3Store) -> None:
    _, old, _ = three(store)
    store.put(LAYOUT.manifest("chat", old), b"{")
    (warning,) = prune_plan(store, LAYOUT, "chat", KEEP).warnings
    assert warning.startswith(f"{old} is damaged")


def test_a_bucket_of_a_newer_version_is_left_alone(store: S3Store) -> None:
    three(store)
    store.put(LAYOUT.format, b'{"format": 2}')
    with pytest.raises(FormatTooNew):
        prune(store, LAYOUT, "chat", KEEP, fence=FreeFence())


LOCKED = (
    "<DeleteResult><Error><Key>{key}</Key><Code>AccessDenied</Code><Message>Access Denied because object protected "
    "by object lock.</Message></Error></DeleteResult>"
)
"""As Amazon S3 answers (User Guide, Managing Object Lock, "How deletes work with S3 Object Lock")."""


def test_a_locked_snapshot_stays_and_the_others_go(seaweed: Seaweed, bucket: str, store: S3Store) -> None:
    newest, older, oldest = three(store)
    with faulty(seaweed.endpoint) as proxy:
        locked = LOCKED.format(key=LAYOUT.manifest("chat", oldest))
        proxy.rule = first(1, Fault("answer", 200, content=locked), lambda one: "delete" in one.path)
        wire = seaweed.store(bucket, endpoint=proxy.endpoint)
        plan = prune(wire, LAYOUT, "chat", KEEP, fence=FreeFence())
    (warning,) = plan.warnings
    assert "locks 1 of 1 objects" in warning
    left = {info.id for info in list_snapshots(store, LAYOUT, "chat")}
    assert len(left & {oldest, older}) == 1
    assert newest in left
