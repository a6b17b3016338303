"""A Qdrant collection as a part, against a stand-in made from its published API, and a real SeaweedFS."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.engines._blobs import fetcher
from ops_pipelines.engines.parts.collection_qdrant import QdrantSource, QdrantTarget
from ops_pipelines.engines.parts.kept import KeptPoints
from ops_pipelines.engines.ports import silent
from ops_pipelines.engines.restore import pending_restore, plan_restore, restore
from ops_pipelines.errors import OpsError, PartFailed, Refused, Unreachable
from ops_pipelines.policy.layout import Layout
from ops_pipelines.policy.manifest import Manifest
from tests.engines.folders import HeldFence, now, snapshot_of
from tests.engines.killed import Fuse, FusedStore, run_killed
from tests.engines.ticking import Ticking, tick_at_the_journal
from tests.servers.qdrant import QdrantServer
from tests.servers.seaweed import Seaweed

LAYOUT = Layout()


@pytest.fixture
def filled(qdrant: QdrantServer) -> QdrantServer:
    qdrant.make("docs_1", 1000)
    qdrant.aliases["docs"] = "docs_1"
    return qdrant


@pytest.fixture
def manifest(filled: QdrantServer, store: S3Store, tmp_path: Path) -> Manifest:
    return snapshot_of([QdrantSource("docs", filled.adapter())], store, tmp_path / "scratch")


@pytest.fixture
def target(filled: QdrantServer, tmp_path: Path) -> QdrantTarget:
    return QdrantTarget("docs", filled.adapter(), tmp_path / "restore")


def put_back(manifest: Manifest, target: QdrantTarget, store: Any, state: Path, **words: Any) -> Any:
    usual: dict[str, Any] = {"fence": HeldFence()}
    return restore(manifest, {"collection/docs": target}, store=store, layout=LAYOUT, state=state, clock=now,
                   **(usual | words))  # fmt: skip


def test_it_comes_back_and_the_old_one_is_kept(
    filled: QdrantServer, manifest: Manifest, target: QdrantTarget, store: S3Store, tmp_path: Path
) -> None:
    part = manifest.parts[0]
    assert (part.facts["engine"], part.facts["rows"], part.consistency) == ("qdrant", 1000, "quiesced")
    assert filled.snapshots == {}, "none is left on the server"
    filled.collections["docs_1"]["points"] = 3
    assert [step.verb for step in plan_restore(manifest, {"collection/docs": target}).steps] == [
        "create",
        "switch",
    ]
    kept = []
    for _ in range(3):
        kept.append(put_back(manifest, target, store, tmp_path).parts[0].kept)
        assert filled.collections[filled.aliases["docs"]]["points"] == 1000
        assert target.leftovers() == ()
    assert kept[0] == "docs_1"
    assert len(filled.collections) == 4, "the same snapshot three times keeps three old ones"
    assert set(kept) | {filled.aliases["docs"]} == set(filled.collections)


def test_what_is_kept_goes_and_what_another_alias_leads_to_does_not(
    filled: QdrantServer, manifest: Manifest, target: QdrantTarget, store: S3Store, tmp_path: Path
) -> None:
    keeper = KeptPoints("docs", filled.adapter())
    assert keeper.kept() == ()
    for _ in range(2):
        put_back(manifest, target, store, tmp_path)
    live = filled.aliases["docs"]
    assert [one.detail for one in keeper.kept()] == ["1000 points", "1000 points"]
    filled.aliases["of_somebody"] = "docs_1"
    [old] = keeper.kept()
    for name in (live, "docs_1"):
        with pytest.raises(Refused):
            keeper.remove(name)
    keeper.remove(old.name)
    assert sorted(filled.collections) == sorted(["docs_1", live])


def test_a_snapshot_that_a_killed_backup_left_on_the_server_is_told_and_stays(
    filled: QdrantServer, store: S3Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled.snapshots["docs_1", "old.snapshot"] = b"whose"
    snapshot_of([QdrantSource("docs", filled.adapter())], store, tmp_path / "scratch")
    assert list(filled.snapshots) == [("docs_1", "old.snapshot")]
    assert "old.snapshot" in "".join(capsys.readouterr())


def test_a_copy_beside_leaves_the_live_one(
    filled: QdrantServer, manifest: Manifest, target: QdrantTarget, store: S3Store, tmp_path: Path
) -> None:
    filled.collections["docs_1"]["points"] = 3
    assert put_back(manifest, target, store, tmp_path, into="drill").parts[0].place == "docs__restore_drill"
    assert filled.aliases == {"docs": "docs_1"}
    assert target.leftovers() == ("docs__restore_drill",)
    target.discard("docs__restore_drill")
    assert list(filled.collections) == ["docs_1"]
    for place in ("docs", "docs_1", "other__restore_x"):
        with pytest.raises(PartFailed):
            target.discard(place)


def test_a_live_place_is_never_removed(
    filled: QdrantServer, manifest: Manifest, target: QdrantTarget, store: S3Store, tmp_path: Path
) -> None:
    put_back(manifest, target, store, tmp_path)
    with pytest.raises(PartFailed):
        target.discard(filled.aliases["docs"])
    assert filled.aliases["docs"] in filled.collections


def test_a_collection_that_is_gone_comes_back(
    filled: QdrantServer, manifest: Manifest, target: QdrantTarget, store: S3Store, tmp_path: Path
) -> None:
    filled.collections.clear()
    filled.aliases.clear()
    assert put_back(manifest, target, store, tmp_path).parts[0].kept == ""
    assert filled.collections[filled.aliases["docs"]]["points"] == 1000


def test_a_name_that_is_no_alias_is_refused_before_anything_is_made(
    filled: QdrantServer, store: S3Store, tmp_path: Path
) -> None:
    target = QdrantTarget("docs_1", filled.adapter(), tmp_path / "restore")
    manifest = snapshot_of([QdrantSource("docs_1", filled.adapter())], store, tmp_path / "scratch")
    targets = {"collection/docs_1": target}
    assert [step.verb for step in plan_restore(manifest, targets).steps] == ["create", "check"]
    with pytest.raises(PartFailed, match="no alias, and Qdrant renames none") as caught:
        restore(manifest, targets, store=store, layout=LAYOUT, fence=HeldFence(), state=tmp_path, clock=now)
    assert "--into" in caught.value.remedy
    assert list(filled.collections) == ["docs_1"]


def test_points_that_come_meanwhile_make_it_fuzzy(
    filled: QdrantServer, target: QdrantTarget, store: S3Store, tmp_path: Path
) -> None:
    def write() -> None:
        filled.collections["docs_1"]["points"] += 7

    filled.between = write
    part = snapshot_of([QdrantSource("docs", filled.adapter())], store, tmp_path / "scratch").parts[0]
    assert (part.facts["fewest"], part.facts["most"], part.consistency) == (1000, 1007, "fuzzy")
    place = target.stage(part, None, fetcher(store, LAYOUT, "x"), silent)
    assert [finding.ok for finding in target.check(part, place, full=True)] == [True]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"points": 999}, "has 999 points instead of 1000"),
        (
            {"params": {"vectors": {"size": 768, "distance": "Cosine"}, "on_disk_payload": True}},
            "its vectors are",
        ),
        ({"payload": {}}, "its payload's indexes are {}"),
        ({"status": "red"}, "is marked as broken"),
    ],
)
def test_what_is_not_as_recorded_fails_the_check(
    filled: QdrantServer, manifest: Manifest, target: QdrantTarget, store: S3Store, change: Any, words: str
) -> None:
    part = manifest.parts[0]
    place = target.stage(part, None, fetcher(store, LAYOUT, manifest.snapshot), silent)
    assert [finding.ok for finding in target.check(part, place, full=True)] == [True]
    filled.collections[place].update(change)
    (finding,) = target.check(part, place, full=True)
    assert (finding.ok, words in finding.message) == (False, True)
    del filled.collections[place]
    assert [finding.ok for finding in target.check(part, place, full=True)] == [None]


@pytest.mark.parametrize(
    ("fault", "words"),
    [({"cut": 1000}, "does not answer"), ({"alter": True}, "with checksum"), ({"peers": 3}, "3 nodes")],
    ids=["cut off", "altered", "several nodes"],
)
def test_a_snapshot_that_is_not_whole_fails_the_backup(
    filled: QdrantServer, store: S3Store, tmp_path: Path, fault: dict[str, Any], words: str
) -> None:
    for name, value in fault.items():
        setattr(filled, name, value)
    with pytest.raises(PartFailed, match=words):
        snapshot_of([QdrantSource("docs", filled.adapter())], store, tmp_path / "scratch")
    assert list(store.list("")) == []
    assert filled.snapshots == {}


def test_a_file_that_changed_on_its_way_is_refused_by_the_server(
    filled: QdrantServer, manifest: Manifest, target: QdrantTarget
) -> None:
    def bring(entry: Any, path: Path) -> None:
        path.write_bytes(b"other")

    with pytest.raises(Refused, match="checksum mismatch"):
        target.stage(manifest.parts[0], None, bring, silent)
    assert list(filled.collections) == ["docs_1"]


@pytest.mark.parametrize(
    ("changes", "error"), [({"api_key": None}, Refused), ({"address": "http://127.0.0.1:9"}, Unreachable)]
)
def test_a_server_that_lets_nobody_in(filled: QdrantServer, changes: Any, error: type[OpsError]) -> None:
    with pytest.raises(error):
        filled.adapter(**changes).collections()


def test_facts_of_another_engine_are_refused(manifest: Manifest, target: QdrantTarget) -> None:
    with pytest.raises(PartFailed, match="not those of a Qdrant collection"):
        target.plan(replace(manifest.parts[0], facts={"rows": 1}), None)


def die(adapter: Any, seaweed: Seaweed, bucket: str, manifest: Manifest, folder: Path, at: int) -> None:
    fuse = Fuse(at)
    tick_at_the_journal(fuse)
    target = QdrantTarget("docs", Ticking(adapter, fuse), folder / "restore")
    put_back(
        manifest, target, FusedStore(seaweed.store(bucket), fuse), folder, fence=HeldFence(tick=fuse.tick)
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_restore_killed_at_any_step(
    filled: QdrantServer, seaweed: Seaweed, bucket: str, store: S3Store, tmp_path: Path
) -> None:
    filled.size = 2000
    manifest = snapshot_of([QdrantSource("docs", filled.adapter())], store, tmp_path / "scratch")
    target = QdrantTarget("docs", filled.adapter(), tmp_path / "restore")
    seen = []
    for at in range(1, 200):
        filled.collections.clear()
        filled.make("docs_1", 5)
        filled.aliases = {"docs": "docs_1"}
        died = run_killed(die, filled.adapter(), seaweed, bucket, manifest, tmp_path, at)
        points = filled.collections[filled.aliases["docs"]]["points"]
        assert points in (5, 1000), f"a half at step {at}"
        if not died:
            break
        seen.append(points)
        put_back(manifest, target, store, tmp_path)
        assert filled.collections[filled.aliases["docs"]]["points"] == 1000
        assert filled.collections["docs_1"]["points"] == 5, "the old one is kept"
        assert target.leftovers() == ()
        assert pending_restore(tmp_path / "state", "demo") is None
    else:
        pytest.fail("no run came to its end")
    assert at > 20
    assert {5, 1000} == set(seen)
