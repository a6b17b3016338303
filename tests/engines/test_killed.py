"""kill -9 at every step of a backup and of a restore, then again: the old state or the new, never a half."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.engines import _journal
from ops_pipelines.engines.backup import take_snapshot
from ops_pipelines.engines.ports import ObjectStore
from ops_pipelines.engines.restore import pending_restore, restore
from ops_pipelines.engines.verify import Depth, verify_snapshot
from ops_pipelines.errors import OpsError
from ops_pipelines.policy.layout import Layout
from ops_pipelines.policy.manifest import Manifest, decode
from ops_pipelines.policy.plan import failed
from tests.engines.folders import (
    FolderSource,
    FolderTarget,
    HeldFence,
    contents,
    live_folder,
    now,
    write_files,
)
from tests.engines.killed import Fuse, FusedStore, run_killed
from tests.servers.seaweed import OwnSeaweed, Seaweed

MOST = 400
"""Steps that no run of these tests reaches."""
ONE = {"a": b"alpha", "b": b"beta" * 9000}
TWO = {"c": b"gamma", "d": b"alpha"}
OLD = {"old": b"what was there"}


def back_up(store: ObjectStore, layout: Layout, folder: Path, fuse: Fuse) -> Manifest:
    sources = [FolderSource("one", folder / "one"), FolderSource("two", folder / "two")]
    return take_snapshot(
        "demo",
        sources,
        store=store,
        layout=layout,
        fence=HeldFence(tick=fuse.tick),
        clock=now,
        scratch=folder / "scratch",
        progress=lambda *_: fuse.tick(),
    )


def back_up_and_die(seaweed: Seaweed, bucket: str, prefix: str, folder: Path, at: int) -> None:
    fuse = Fuse(at)
    back_up(FusedStore(seaweed.store(bucket), fuse), Layout(prefix), folder, fuse)


def committed(store: S3Store, layout: Layout) -> list[Manifest]:
    keys = [info.key for info in store.list(layout.snapshots("demo"))]
    return [decode(store.get(key)[0], where=key) for key in keys]


def whole(store: S3Store, layout: Layout, manifest: Manifest) -> bool:
    files = {entry.path for part in manifest.parts for entry in part.files}
    findings = verify_snapshot(manifest, store=store, layout=layout, depth="checksums")
    return files == {*ONE, *TWO} and not failed(findings)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_files(tmp_path / "one", ONE)
    write_files(tmp_path / "two", TWO)
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_backup_killed_at_any_step(seaweed: Seaweed, bucket: str, store: S3Store, folder: Path) -> None:
    after_commit = 0
    for at in range(1, MOST):
        layout = Layout(f"killed-{at}")
        if not run_killed(back_up_and_die, seaweed, bucket, layout.prefix, folder, at):
            break
        before = committed(store, layout)
        assert len(before) <= 1
        assert all(whole(store, layout, manifest) for manifest in before), f"half a snapshot at step {at}"
        after_commit += len(before)
        again = back_up(store, layout, folder, Fuse(0))
        assert whole(store, layout, again)
        assert again.uploaded == 0 if before else again.uploaded >= 0
        assert len(committed(store, layout)) == len(before) + 1
        assert not (folder / "scratch/backup").exists()
    else:
        pytest.fail(f"no run came to its end within {MOST} steps")
    assert at > 30, "so many steps have been killed"
    assert after_commit >= 2, "the commit itself was reached"


def test_a_backup_killed_inside_a_large_file(
    seaweed: Seaweed, bucket: str, store: S3Store, tmp_path: Path
) -> None:
    layout = Layout()
    write_files(tmp_path / "one", {"large": bytes(range(256)) * (40 << 12)})
    write_files(tmp_path / "two", TWO)
    # Steps: lease, looking for the blob (2), lease, the call, then each piece that went.
    assert run_killed(back_up_and_die, seaweed, bucket, "", tmp_path, 7)
    assert committed(store, layout) == []
    assert list(store.list("")) == []
    again = back_up(store, layout, tmp_path, Fuse(0))
    assert not failed(verify_snapshot(again, store=store, layout=layout, depth="checksums"))


def put_back(store: ObjectStore, manifest: Manifest, folder: Path, fuse: Fuse) -> None:
    targets = {
        f"volume/{name}": FolderTarget(name, folder / "target" / name, tick=fuse.tick)
        for name in ("one", "two")
    }
    restore(
        manifest,
        targets,
        store=store,
        layout=Layout(),
        fence=HeldFence(tick=fuse.tick),
        state=folder / "state",
        clock=now,
        progress=lambda *_: fuse.tick(),
    )


def put_back_and_die(seaweed: Seaweed, bucket: str, manifest: Manifest, folder: Path, at: int) -> None:
    fuse = Fuse(at)
    write, remove = _journal.write, _journal.remove

    def write_and_tick(state: Path, journal: _journal.Journal) -> None:
        fuse.tick()
        write(state, journal)
        fuse.tick()

    def remove_and_tick(state: Path, stack: str) -> None:
        fuse.tick()
        remove(state, stack)
        fuse.tick()

    _journal.write, _journal.remove = write_and_tick, remove_and_tick
    put_back(FusedStore(seaweed.store(bucket), fuse), manifest, folder, fuse)


def states(folder: Path) -> list[dict[str, bytes]]:
    return [contents(folder / "target" / name / "live") for name in ("one", "two")]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_restore_killed_at_any_step(seaweed: Seaweed, bucket: str, store: S3Store, folder: Path) -> None:
    manifest = back_up(store, Layout(), folder, Fuse(0))
    seen = []
    for at in range(1, MOST):
        for name in ("one", "two"):
            live_folder(folder / "target" / name, OLD)
        if not run_killed(put_back_and_die, seaweed, bucket, manifest, folder, at):
            break
        found = states(folder)
        assert found[0] in (OLD, ONE), f"a half at step {at}"
        assert found[1] in (OLD, TWO), f"a half at step {at}"
        seen.append(found)
        put_back(store, manifest, folder, Fuse(0))
        assert states(folder) == [ONE, TWO], f"not finished after step {at}"
        assert contents(folder / "target/one/original") == OLD, "the old content is kept"
        assert contents(folder / "target/two/original") == OLD, "the old content is kept"
        assert pending_restore(folder / "state", "demo") is None
        for name in ("one", "two"):
            target = FolderTarget(name, folder / "target" / name)
            assert target.leftovers() == ()
        shutil.rmtree(folder / "target")
    else:
        pytest.fail(f"no run came to its end within {MOST} steps")
    for state in ([OLD, OLD], [ONE, OLD], [ONE, TWO]):
        assert state in seen, "killed before, between and after the switches"


@pytest.fixture
def weed(own_seaweed: OwnSeaweed) -> OwnSeaweed:
    own_seaweed.at.client().create_bucket(Bucket="backups")
    return own_seaweed


class Killer:
    """Counts steps as a Fuse does, and kills the store at the chosen one."""

    def __init__(self, weed: OwnSeaweed, at: int) -> None:
        self.weed, self.at, self.ticks = weed, at, 0

    def tick(self) -> None:
        self.ticks += 1
        if self.ticks == self.at:
            self.weed.kill()


@pytest.mark.slow
@pytest.mark.parametrize("at", [2, 12, 20])
def test_a_store_killed_while_a_backup_runs(weed: OwnSeaweed, folder: Path, at: int) -> None:
    store = weed.at.store("backups", connect_timeout=1.0, read_timeout=5.0)
    fused = FusedStore(store, Killer(weed, at))
    with pytest.raises(OpsError) as caught:
        back_up(fused, Layout(), folder, Fuse(0))
    assert caught.value.remedy
    weed.restart()
    before = committed(store, Layout())
    assert all(whole(store, Layout(), manifest) for manifest in before)
    again = back_up(store, Layout(), folder, Fuse(0))
    assert whole(store, Layout(), again)
    assert len(committed(store, Layout())) == len(before) + 1


@pytest.mark.slow
def test_a_store_killed_while_a_restore_runs(weed: OwnSeaweed, folder: Path) -> None:
    store = weed.at.store("backups", connect_timeout=1.0, read_timeout=5.0)
    manifest = back_up(store, Layout(), folder, Fuse(0))
    for name in ("one", "two"):
        live_folder(folder / "target" / name, OLD)
    with pytest.raises(OpsError):
        put_back(FusedStore(store, Killer(weed, 10)), manifest, folder, Fuse(0))
    assert states(folder) == [OLD, OLD]
    weed.restart()
    put_back(store, manifest, folder, Fuse(0))
    assert states(folder) == [ONE, TWO]


def test_a_snapshot_is_unknown_while_the_store_is_gone(weed: OwnSeaweed, folder: Path) -> None:
    store = weed.at.store("backups", connect_timeout=1.0, read_timeout=5.0)
    manifest = back_up(store, Layout(), folder, Fuse(0))
    weed.kill()
    depths: tuple[Depth, ...] = ("listed", "sizes", "checksums")
    for depth in depths:
        findings = verify_snapshot(manifest, store=store, layout=Layout(), depth=depth)
        assert [finding.ok for finding in findings] == [None, None], depth
        assert [finding.subject for finding in findings] == ["volume/one", "volume/two"]
    weed.restart()
    assert not failed(verify_snapshot(manifest, store=store, layout=Layout(), depth="checksums"))
