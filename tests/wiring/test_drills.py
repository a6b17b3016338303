"""A drill beside others: one at a time wherever it runs, in places of its own, and the stack's rest undisturbed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops_pipelines.engines.ports import Fence
from ops_pipelines.errors import DeployFailed, LeaseHeld, LeaseLost
from ops_pipelines.policy.manifest import Manifest, Part
from ops_pipelines.wiring import deployments, drills, parts, serving, snapshots
from ops_pipelines.wiring.connect import drill_lease, lease, supervisor
from ops_pipelines.wiring.serving import serving as serve
from tests.engines import snapshot_kit
from tests.engines.snapshot_kit import FreeFence
from tests.servers.supervisord import pid_at
from tests.wiring.stand import Stand


def test_a_snapshot_is_proven_while_the_stack_is_changed(stand: Stand) -> None:
    site = stand.site
    taken = snapshots.backup(site, by="test")
    with lease(site, "a deploy"):
        report = drills.drill(site, full=True)
    assert (report.verdict, report.snapshot, report.recall) == ("passed", taken.snapshot, None)
    [info] = snapshots.listed(site)
    assert "drilled" in info.marks
    assert not (site.state / "drill").exists()


def test_a_second_drill_is_told_of_the_first(stand: Stand) -> None:
    site = stand.site
    snapshots.backup(site, by="test")
    with drill_lease(site, "drill of X"), pytest.raises(LeaseHeld, match="drill of X"):
        drills.drill(site)
    assert "failed" not in snapshots.listed(site)[0].marks


def test_a_drill_that_was_taken_over_marks_nothing(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its places were cleared away by the other one: that says nothing of the snapshot."""
    site = stand.site
    snapshots.backup(site, by="test")
    for lost_at in range(1, 4):
        monkeypatch.setattr(drills, "drill_lease", lambda site, purpose, at=lost_at: _lost(at))
        with pytest.raises(LeaseLost):
            drills.drill(site)
    assert snapshots.listed(site)[0].marks == {}


@contextmanager
def _lost(at: int) -> Iterator[Fence]:
    yield FreeFence(lost_at=at)


def test_a_rotten_snapshot_is_marked_by_whom(stand: Stand) -> None:
    site = stand.site
    snapshots.backup(site, by="test")
    for info in list(stand.store.list(stand.layout.blobs)):
        stand.store.put(info.key, b"rot")
    assert drills.drill(site).verdict == "failed"
    [info] = snapshots.listed(site)
    assert info.bad


def test_a_drill_and_a_restore_share_no_scratch(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {"id": {"type": "int64", "primary": True}, "vector": {"type": "float_vector", "dimension": 2}}
    site = stand.change(
        components={"web": stand.web(), "milvus": {"kind": "milvus", "address": "http://127.0.0.1:9"}},
        collections={"docs": {"store": "milvus", "fields": fields}},
    )
    seen: list[Path] = []
    monkeypatch.setattr(parts, "vector_store", lambda site, name: None)
    monkeypatch.setattr(parts, "CollectionTarget", lambda name, store, scratch: seen.append(scratch))
    manifest = Manifest(
        "20260102T030000Z-aaaaaa", "chat", "2026-01-02T03:00:00+00:00", (Part("collection", "docs", ()),)
    )
    parts.targets(site, manifest)
    parts.targets(site, manifest, scratch=site.scratch / "drill")
    restore, drill = seen
    assert restore != drill
    assert not restore.is_relative_to(drill)


def test_a_part_of_a_kind_that_is_not_spoken_is_left_out(stand: Stand) -> None:
    fields = {"id": {"type": "int64", "primary": True}, "vector": {"type": "float_vector", "dimension": 2}}
    site = stand.change(
        components={"web": stand.web(), "qdrant": {"kind": "qdrant", "address": "http://127.0.0.1:9"}},
        collections={"docs": {"store": "qdrant", "fields": fields}},
    )
    part = Part("collection", "docs", ())
    found = parts.targets(
        site, Manifest("20260102T030000Z-aaaaaa", "chat", "2026-01-02T03:00:00+00:00", (part,))
    )
    assert found == {}


def test_a_stack_that_rests_is_not_started_for_a_drill(stand: Stand) -> None:
    site = stand.site
    deployments.deploy(site, by="test")
    main = supervisor(site.settings)
    main.shutdown()
    with serve(site, ["web"], {}, word="drill") as addresses:
        assert pid_at(int(addresses["web"].rpartition(":")[2]))
        assert not main.running()
        assert pid_at(stand.ports[0]) is None
    assert not main.running()
    assert pid_at(int(addresses["web"].rpartition(":")[2])) is None


def test_a_stack_that_runs_goes_on_beside_its_drill(stand: Stand) -> None:
    site = stand.site
    deployments.deploy(site, by="test")
    live = pid_at(stand.ports[0])
    main = supervisor(site.settings)
    with serve(site, ["web"], {}, word="drill") as addresses:
        assert "chat--drill.web.0" in main.status()
        assert int(addresses["web"].rpartition(":")[2]) != stand.ports[0]
    assert set(main.status()) == {"chat.web.0"}
    assert pid_at(stand.ports[0]) == live


def test_the_log_of_a_server_that_does_not_start_is_shown_without_its_secrets(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    say = "import os, sys; print('my token is', os.environ['TOKEN']); sys.exit(3)"
    web = stand.web(command=["{python}", "-c", say], secrets={"TOKEN": "token"})
    stand.environ["TOKEN_VALUE"] = "hunter2hunter2"
    site = stand.change(
        components={"web": web}, secrets={**stand.declared["secrets"], "token": "${TOKEN_VALUE}"}
    )
    with (
        pytest.raises(DeployFailed, match=r"my token is \*\*\*") as error,
        serve(site, ["web"], {}, word="drill"),
    ):
        pytest.fail("it answered")
    assert "hunter2" not in str(error.value)
    assert not supervisor(site.settings).running()


def test_clearing_up_hides_no_error(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(manager: object, prefix: str) -> None:
        if cleared:
            raise DeployFailed("supervisord died too", remedy="")
        cleared.append(prefix)

    cleared: list[str] = []
    monkeypatch.setattr(serving, "remove_leftovers", fails)
    with pytest.raises(ZeroDivisionError), serve(stand.site, ["web"], {}, word="drill"):
        raise ZeroDivisionError


def test_the_newest_is_drilled_where_none_is_named(stand: Stand) -> None:
    snapshot_kit.commit(stand.store, days_ago=2, suffix="aaaaaa")
    newest = snapshot_kit.commit(stand.store, days_ago=1, suffix="bbbbbb")
    assert drills.drill(stand.site).snapshot == newest
