"""What a bucket holds, asked of a real SeaweedFS: whole, incomplete, damaged and foreign things."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.engines.snapshots import (
    check_format,
    list_snapshots,
    load_manifest,
    mark,
    read_mark,
    stacks_in,
    unmark,
    write_format,
)
from ops_pipelines.errors import FormatTooNew, SnapshotDamaged, SnapshotUnknown, StoreError
from ops_pipelines.policy.store import ObjectInfo
from tests.engines.snapshot_kit import LAYOUT, commit


def test_an_empty_bucket_holds_nothing(store: S3Store) -> None:
    assert list_snapshots(store, LAYOUT, "chat") == ()
    assert stacks_in(store, LAYOUT) == ()
    assert check_format(store, LAYOUT) is None


def test_newest_first_with_sizes_parts_and_marks(store: S3Store) -> None:
    older = commit(store, days_ago=2, contents=(b"a", b"bc"))
    newer = commit(store, days_ago=1)
    commit(store, stack="other")
    mark(store, LAYOUT, "chat", older, "verified", {"depth": "sizes"})
    mark(store, LAYOUT, "chat", older, "pinned", {"by": "anna"})
    first, second = list_snapshots(store, LAYOUT, "chat")
    assert (first.id, first.complete, dict(first.marks)) == (newer, True, {})
    assert (second.id, second.size, second.uploaded, second.revision) == (older, 3, 7, 3)
    assert second.parts == ("configuration/stack",)
    assert set(second.marks) == {"verified", "pinned"}
    assert abs((datetime.fromisoformat(second.marks["verified"]) - datetime.now(UTC)).total_seconds()) < 60
    assert not second.bad
    assert read_mark(store, LAYOUT, "chat", older, "verified") == {"depth": "sizes"}


def test_a_damaged_one_is_shown_and_the_others_too(store: S3Store) -> None:
    good = commit(store, days_ago=1)
    truncated, foreign, newer, renamed = (commit(store, days_ago=day) for day in (2, 3, 4, 5))
    content, _ = store.get(LAYOUT.manifest("chat", truncated))
    store.put(LAYOUT.manifest("chat", truncated), content[: len(content) // 2])
    store.put(LAYOUT.manifest("chat", foreign), store.get(LAYOUT.manifest("chat", good))[0])
    store.put(LAYOUT.manifest("chat", newer), content.replace(b'"format":1', b'"format":2'))
    store.put(LAYOUT.manifest("chat", renamed), content.replace(b'"created":"2', b'"created":"x'))
    lone = "20200101T000000Z-ffffff"
    mark(store, LAYOUT, "chat", lone, "failed", {"why": "disk"})
    found = {one.id: one for one in list_snapshots(store, LAYOUT, "chat")}
    assert [found[one].state for one in (good, truncated, foreign, newer, renamed, lone)] == [
        "complete", "damaged", "damaged", "newer", "damaged", "incomplete",
    ]  # fmt: skip
    assert good in found[foreign].problem
    assert found[truncated].size is None
    assert found[truncated].bad
    assert found[lone].created == "2020-01-01T00:00:00+00:00"
    with pytest.raises(SnapshotDamaged):
        load_manifest(store, LAYOUT, "chat", truncated)
    with pytest.raises(SnapshotDamaged, match=good):
        load_manifest(store, LAYOUT, "chat", foreign)
    with pytest.raises(FormatTooNew):
        load_manifest(store, LAYOUT, "chat", newer)


def test_a_manifest_pruned_while_it_is_listed(store: S3Store) -> None:
    snapshot = commit(store)

    class Pruned(S3Store):
        def list(self, prefix: str) -> Iterator[ObjectInfo]:
            yield from super().list(prefix)
            self.delete([LAYOUT.manifest("chat", snapshot)])

    store.__class__ = Pruned
    (found,) = list_snapshots(store, LAYOUT, "chat")
    assert (found.state, found.problem) == ("incomplete", "its manifest was removed")


def test_an_unknown_snapshot_names_known_ones(store: S3Store) -> None:
    older, newer = commit(store, days_ago=2), commit(store, days_ago=1)
    with pytest.raises(SnapshotUnknown) as caught:
        load_manifest(store, LAYOUT, "chat", older.replace("aaaaaa", "aaaaab"))
    assert f"did you mean {older}" in caught.value.message
    assert newer in caught.value.remedy
    for word in ("latest", "../../lease", ""):
        with pytest.raises(SnapshotUnknown):
            load_manifest(store, LAYOUT, "chat", word)
    with pytest.raises(SnapshotUnknown, match="chatt has no snapshot") as caught:
        load_manifest(store, LAYOUT, "chatt", older)
    assert "stacks in this bucket: chat" in caught.value.remedy


def test_a_success_takes_an_earlier_failure_away(store: S3Store) -> None:
    snapshot = commit(store)
    mark(store, LAYOUT, "chat", snapshot, "verified", {})
    mark(store, LAYOUT, "chat", snapshot, "failed", {"blob": "ab"})
    (found,) = list_snapshots(store, LAYOUT, "chat")
    assert found.bad
    assert set(found.marks) == {"verified", "failed"}
    mark(store, LAYOUT, "chat", snapshot, "drilled", {})
    (found,) = list_snapshots(store, LAYOUT, "chat")
    assert not found.bad
    assert set(found.marks) == {"verified", "drilled"}
    unmark(store, LAYOUT, "chat", snapshot, "verified")
    assert set(list_snapshots(store, LAYOUT, "chat")[0].marks) == {"drilled"}
    assert read_mark(store, LAYOUT, "chat", snapshot, "verified") is None


def test_only_a_committed_one_is_verified(store: S3Store) -> None:
    commit(store)
    with pytest.raises(SnapshotUnknown):
        mark(store, LAYOUT, "chat", "20200101T000000Z-ffffff", "verified", {})
    with pytest.raises(ValueError, match="no such mark"):
        mark(store, LAYOUT, "chat", "20200101T000000Z-ffffff", "lovely", {})


def test_stacks_are_found_without_any_stack_file(store: S3Store) -> None:
    commit(store, stack="chat")
    commit(store, stack="obelisk")
    store.put("elsewhere/stacks/x/lease.json", b"{}")
    assert stacks_in(store, LAYOUT) == ("chat", "obelisk")


def test_format(store: S3Store) -> None:
    write_format(store, LAYOUT)
    write_format(store, LAYOUT)
    assert check_format(store, LAYOUT) == 1
    assert json.loads(store.get(LAYOUT.format)[0]) == {"format": 1}
    store.put(LAYOUT.format, b'{"format": 2}')
    for use in (check_format, write_format):
        with pytest.raises(FormatTooNew):
            use(store, LAYOUT)
    for content in (b"", b"[]", b'{"format": "one"}', b"{}"):
        store.put(LAYOUT.format, content)
        with pytest.raises(StoreError, match="not ours"):
            check_format(store, LAYOUT)
