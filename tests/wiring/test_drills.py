"""A drill beside others: one at a time wherever it runs, in places of its own, and the stack's rest undisturbed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ops_pipelines.engines import snapshots as engine
from ops_pipelines.engines.ports import Fence
from ops_pipelines.errors import DeployFailed, LeaseHeld, LeaseLost
from ops_pipelines.policy.machine import Card
from ops_pipelines.policy.manifest import Manifest, Part, encode
from ops_pipelines.wiring import _drill_serving, deployments, drills, parts, serving, snapshots, vectors
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
    monkeypatch.setattr(vectors, "vector_store", lambda site, name: None)
    monkeypatch.setattr(
        vectors, "CollectionTarget", lambda name, store, scratch, **more: seen.append(scratch)
    )
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


# --- which one, within which limits, and what is made of it ---


def test_an_older_one_is_drilled_now_and_then(stand: Stand) -> None:
    older = snapshot_kit.commit(stand.store, days_ago=2, suffix="aaaaaa")
    newest = snapshot_kit.commit(stand.store, days_ago=1, suffix="bbbbbb")
    site = stand.change(drill={"pick": "random", "older": 0.5})
    assert drills.drill(site, draw=0.49).snapshot == older
    report = drills.drill(site, draw=0.5)
    assert report.snapshot == newest
    assert report.rpo == pytest.approx(86400, abs=300), "what would be lost goes by the newest"
    assert report.interval == pytest.approx(86400, abs=1)


@pytest.mark.parametrize(
    ("objectives", "verdict", "words"),
    [
        ({"rto": "1h", "rpo": "26h"}, "passed", ""),
        ({"rpo": "24h"}, "failed", "25.0 h since the newest snapshot (at most 24.0 h is wanted)"),
        ({"rto": "0.0001s"}, "failed", "to restore (at most 0.0 s is wanted)"),
    ],
)
def test_a_missed_objective_fails_the_drill_and_not_the_snapshot(
    stand: Stand, objectives: dict[str, str], verdict: str, words: str
) -> None:
    snapshot_kit.commit(stand.store, days_ago=25 / 24)
    report = drills.drill(stand.change(drill={"objectives": objectives}))
    assert report.verdict == verdict
    assert words in " ".join(finding.message for finding in report.findings)
    [info] = snapshots.listed(stand.site)
    assert set(info.marks) == {"drilled"}


def test_places_lie_where_they_are_declared_and_only_they_are_cleared(stand: Stand) -> None:
    snapshot_kit.commit(stand.store)
    mine = stand.folder / "big" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("not a drill's")
    site = stand.change(drill={"folder": str(mine.parent)})
    left = mine.parent / "ops-pipelines-drill-chat" / "configuration"
    left.mkdir(parents=True)
    assert drills.drill(site).verdict == "passed"
    assert [path.name for path in mine.parent.iterdir()] == ["mine.txt"]


def test_a_drill_that_may_not_take_the_room_restores_nothing(stand: Stand) -> None:
    snapshot_kit.commit(stand.store, contents=(b"ten bytes.",))
    report = drills.drill(stand.change(drill={"space": 9}))
    assert (report.verdict, report.rto) == ("unknown", None)
    assert "10 B needed, 9 B allowed" in report.findings[0].message
    assert snapshots.listed(stand.site)[0].marks == {}
    assert drills.drill(stand.change(drill={"space": 10})).verdict == "passed"


def test_one_that_is_pruned_while_it_is_drilled_is_not_marked(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = snapshot_kit.commit(stand.store)
    run = drills.run_drill

    def pruned_meanwhile(*words: Any, **more: Any) -> Any:
        report = run(*words, **more)
        stand.store.delete([stand.layout.manifest("chat", snapshot)])
        return report

    monkeypatch.setattr(drills, "run_drill", pruned_meanwhile)
    assert drills.drill(stand.site).verdict == "passed"
    assert snapshots.listed(stand.site) == ()


# --- restored to verify ---


def test_a_snapshot_is_verified_by_restoring_it(stand: Stand) -> None:
    snapshot = snapshot_kit.commit(stand.store)
    findings = snapshots.verify(stand.site, snapshot, depth="restored")
    assert all(finding.ok for finding in findings)
    facts = engine.read_mark(stand.store, stand.layout, "chat", snapshot, "verified")
    assert facts is not None
    assert facts["depth"] == "restored"
    assert not (stand.site.state / "drill").exists()


def test_one_that_cannot_be_restored_is_marked_and_only_as_close_a_look_takes_it_back(stand: Stand) -> None:
    snapshot = snapshot_kit.commit(stand.store)
    [blob] = stand.store.list(stand.layout.blobs)
    stand.store.put(blob.key, b"rotten!")
    assert not all(finding.ok for finding in snapshots.verify(stand.site, snapshot, depth="restored"))
    stand.store.put(blob.key, b"content")
    snapshots.verify(stand.site, snapshot, depth="checksums")
    assert snapshots.listed(stand.site)[0].bad
    plan = snapshots.plan_restore(stand.site, snapshot, into="copy")
    assert f"{snapshot} FAILED its last check at" in plan.warnings[0]
    snapshots.verify(stand.site, snapshot, depth="restored")
    assert not snapshots.listed(stand.site)[0].bad


def test_what_cannot_be_held_here_is_not_verified(stand: Stand) -> None:
    """The part is of a collection that this stack file does not declare."""
    snapshot = snapshot_kit.commit(stand.store)
    manifest = snapshots.load(stand.site, snapshot)
    stranger = replace(manifest.parts[0], kind="collection", name="docs")
    changed = replace(manifest, parts=(*manifest.parts, stranger))
    stand.store.put(stand.layout.manifest("chat", snapshot), encode(changed))
    findings = snapshots.verify(stand.site, snapshot, depth="restored")
    assert None in {finding.ok for finding in findings}
    assert snapshots.listed(stand.site)[0].marks == {}


def test_no_snapshot_is_restored_to_verify_beside_a_drill(stand: Stand) -> None:
    snapshot = snapshot_kit.commit(stand.store)
    with drill_lease(stand.site, "drill of X"), pytest.raises(LeaseHeld, match="drill of X"):
        snapshots.verify(stand.site, snapshot, depth="restored")


# --- models ---


def _with_a_chat_model(stand: Stand, **resources: object) -> Path:
    """A model of the web server's, in a folder; it answers every path with a listing, as no model server does."""
    folder = stand.folder / "models"
    (folder / "m").mkdir(parents=True)
    (folder / "m" / "weights.bin").write_bytes(b"weights")
    stand.change(
        components={"web": stand.web(kind="vllm", resources=resources)},
        caches={"models": {"layout": "directory", "path": str(folder)}},
        models={"m": {"source": "hf:a/m", "cache": "models", "served_by": "web"}},
    )
    return folder


@pytest.mark.parametrize("free", [(), "NVML cannot be asked", (Card(0, "busy", 24 << 30, 1 << 30),)])
def test_a_model_without_a_free_card_is_not_generated_and_not_passed(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, free: Any
) -> None:
    _with_a_chat_model(stand, gpus=1)
    monkeypatch.setattr(_drill_serving.machine, "cards", lambda: free)
    snapshots.backup(stand.site, by="test")
    report = drills.drill(stand.site)
    assert report.verdict == "not generated: no card"
    [said] = [finding for finding in report.findings if finding.subject == "model/m"]
    assert said.message.startswith("not generated: no card (no card: ")
    assert report.rto is not None, "all of it was restored"
    assert snapshots.listed(stand.site)[0].marks == {}, "neither drilled nor failed"
    assert not supervisor(stand.site.settings).running(), "nothing was started"


def test_a_model_that_is_started_must_answer(stand: Stand) -> None:
    _with_a_chat_model(stand)
    snapshots.backup(stand.site, by="test")
    report = drills.drill(stand.site)
    [said] = [finding for finding in report.findings if finding.subject == "model/m"]
    assert (said.ok, report.verdict) == (None, "unknown")
    assert "gives no answer" in said.message
