"""Restores from a real SeaweedFS: nothing live changes until all is staged and checked."""

# ruff: noqa: ARG002 - parts take what the Protocol hands them, used or not

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.engines._blobs import fetcher
from ops_pipelines.engines.restore import pending_restore, plan_restore, restore
from ops_pipelines.errors import (
    ChecksumMismatch,
    LeaseLost,
    ObjectMissing,
    OpsError,
    PartFailed,
    SnapshotDamaged,
    Unreachable,
    UsageError,
)
from ops_pipelines.policy.layout import Layout
from ops_pipelines.policy.manifest import FileEntry, Manifest, Part
from tests.engines.folders import (
    FolderSource,
    FolderTarget,
    HeldFence,
    contents,
    digest,
    live_folder,
    now,
    snapshot_of,
    write_files,
)

LAYOUT = Layout()
ONE = {"a": b"alpha", "deep/b": b"beta"}
TWO = {"c": b"gamma", "d": b"alpha"}
OLD = {"old": b"what was there"}


@pytest.fixture
def manifest(store: S3Store, tmp_path: Path) -> Manifest:
    sources = [
        FolderSource("one", write_files(tmp_path / "source/one", ONE)),
        FolderSource("two", write_files(tmp_path / "source/two", TWO)),
    ]
    return snapshot_of(sources, store, tmp_path / "scratch")


@pytest.fixture
def targets(tmp_path: Path) -> dict[str, FolderTarget]:
    return {
        f"volume/{name}": FolderTarget(name, live_folder(tmp_path / name, OLD)) for name in ("one", "two")
    }


def put_back(manifest: Manifest, targets: Any, store: Any, tmp_path: Path, **changes: Any) -> Any:
    words: dict[str, Any] = {
        "fence": HeldFence(),
        "state": tmp_path / "state",
        "clock": now,
        "layout": LAYOUT,
    }
    return restore(manifest, targets, store=store, **(words | changes))


def live(targets: dict[str, FolderTarget]) -> list[dict[str, bytes]]:
    return [contents(target.live) for target in targets.values()]


def folders(target: FolderTarget) -> list[str]:
    return sorted(path.name for path in target.base.iterdir() if path.is_dir() and not path.is_symlink())


def test_all_parts_are_put_back_and_the_old_is_kept(
    manifest: Manifest, targets: dict[str, FolderTarget], store: S3Store, tmp_path: Path
) -> None:
    result = put_back(manifest, targets, store, tmp_path)
    assert live(targets) == [ONE, TWO]
    assert [contents(Path(one.kept)) for one in result.parts] == [OLD, OLD]
    assert result.switched
    assert not result.resumed
    assert pending_restore(tmp_path / "state", "demo") is None


def test_a_copy_beside_changes_nothing_live(
    manifest: Manifest, targets: dict[str, FolderTarget], store: S3Store, tmp_path: Path
) -> None:
    result = put_back(manifest, targets, store, tmp_path, into="copy")
    assert live(targets) == [OLD, OLD]
    assert [contents(Path(one.place)) for one in result.parts] == [ONE, TWO]
    assert [Path(one.place).name for one in result.parts] == ["copy_one", "copy_two"]
    assert not result.switched
    with pytest.raises(PartFailed, match="exists"):
        put_back(manifest, targets, store, tmp_path, into="copy")
    assert [contents(Path(one.place)) for one in result.parts] == [ONE, TWO], "an earlier copy is not undone"


@pytest.mark.parametrize("word", ["two", "volume/two"])
def test_one_part_is_put_back(
    manifest: Manifest, targets: dict[str, FolderTarget], store: S3Store, tmp_path: Path, word: str
) -> None:
    put_back(manifest, targets, store, tmp_path, parts=[word])
    assert live(targets) == [OLD, TWO]


def test_an_unknown_part_is_named_with_the_known_ones(
    manifest: Manifest, targets: dict[str, FolderTarget], store: S3Store, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="no part thre") as caught:
        plan_restore(manifest, targets, ["one", "thre"])
    assert "volume/one, volume/two" in str(caught.value)
    with pytest.raises(UsageError, match="no part thre"):
        put_back(manifest, targets, store, tmp_path, parts=["one", "thre"])


def test_a_part_without_a_target_is_a_warning_that_says_what_is_missing(
    manifest: Manifest, targets: dict[str, FolderTarget], store: S3Store, tmp_path: Path
) -> None:
    del targets["volume/one"]
    plan = plan_restore(manifest, targets)
    assert [step.subject for step in plan.changes] == ["volume/two", "volume/two"]
    assert "volume/one is left out" in plan.warnings[0]
    result = put_back(manifest, targets, store, tmp_path)
    assert live(targets) == [TWO]
    assert result.skipped == plan.warnings
    with pytest.raises(UsageError, match="volume/one is left out"):
        put_back(manifest, targets, store, tmp_path, parts=["one"])
    with pytest.raises(UsageError, match="nothing of snapshot"):
        put_back(manifest, {}, store, tmp_path)


def test_a_failing_check_discards_every_place(
    manifest: Manifest, targets: dict[str, FolderTarget], store: S3Store, tmp_path: Path
) -> None:
    targets["volume/two"].spoil = True
    with pytest.raises(PartFailed, match=r"volume/two was staged at .* and is not what the snapshot holds"):
        put_back(manifest, targets, store, tmp_path)
    assert live(targets) == [OLD, OLD]
    assert [folders(target) for target in targets.values()] == [["original"], ["original"]]


def test_a_missing_blob_stops_it_before_anything_is_staged(
    manifest: Manifest, targets: dict[str, FolderTarget], store: S3Store, tmp_path: Path
) -> None:
    store.delete([LAYOUT.blob(digest(b"gamma"))])
    targets["volume/one"].tick = targets["volume/two"].tick = lambda: pytest.fail("a target was touched")
    with pytest.raises(SnapshotDamaged, match=rf"volume/two: c: the blob {digest(b'gamma')} is missing"):
        put_back(manifest, targets, store, tmp_path)


def test_the_parts_that_are_whole_can_still_be_restored(
    manifest: Manifest, targets: dict[str, FolderTarget], store: S3Store, tmp_path: Path
) -> None:
    store.delete([LAYOUT.blob(digest(b"gamma"))])
    put_back(manifest, targets, store, tmp_path, parts=["one"])
    assert live(targets) == [ONE, OLD]


def test_an_altered_blob_never_becomes_a_file(
    manifest: Manifest, targets: dict[str, FolderTarget], store: S3Store, tmp_path: Path
) -> None:
    store.put(LAYOUT.blob(digest(b"gamma")), b"gimme")
    # The store vouches for what it was given: the checksum it keeps is the altered content's own.
    with pytest.raises(SnapshotDamaged, match=r"volume/two: c: .* is altered"):
        put_back(manifest, targets, store, tmp_path)
    honest = Forgetful(store)
    with pytest.raises(ChecksumMismatch, match=rf"{digest(b'gamma')} \(c\) of snapshot {manifest.snapshot}"):
        put_back(manifest, targets, honest, tmp_path)
    assert live(targets) == [OLD, OLD]
    assert [folders(target) for target in targets.values()] == [["original"], ["original"]]


class Forgetful:
    """A store that keeps no checksums."""

    def __init__(self, real: S3Store) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def head(self, key: str) -> Any:
        info = self._real.head(key)
        return info and replace(info, sha256=None)


@pytest.mark.parametrize("checks", range(4))
def test_a_lease_lost_before_the_switch_changes_nothing_live(
    manifest: Manifest, targets: dict[str, FolderTarget], store: S3Store, tmp_path: Path, checks: int
) -> None:
    with pytest.raises(LeaseLost):
        put_back(manifest, targets, store, tmp_path, fence=HeldFence(after=checks))
    assert live(targets) == [OLD, OLD]
    put_back(manifest, targets, store, tmp_path)
    assert live(targets) == [ONE, TWO]
    assert all(len(folders(target)) == 2 for target in targets.values()), "leftovers are discarded"


def cut_off(manifest: Manifest, targets: dict[str, FolderTarget], store: S3Store, tmp_path: Path) -> None:
    """A restore that ends between its two switches."""
    with pytest.raises(LeaseLost) as caught:
        put_back(manifest, targets, store, tmp_path, fence=HeldFence(after=5))
    assert live(targets) == [ONE, OLD]
    assert "switched before: volume/one; still the old: volume/two" in str(caught.value)
    assert "the old volume/one is kept: " in str(caught.value)


def test_a_restore_cut_off_between_switches_is_finished_by_the_next(
    manifest: Manifest, targets: dict[str, FolderTarget], store: S3Store, tmp_path: Path
) -> None:
    cut_off(manifest, targets, store, tmp_path)
    pending = pending_restore(tmp_path / "state", "demo")
    plan = plan_restore(manifest, targets, pending=pending)
    assert (plan.steps[0].verb, plan.steps[0].subject) == ("keep", "volume/one")
    assert "volume/one switched, volume/two not; this run finishes it" in plan.warnings[0]
    before = {name: folders(target) for name, target in targets.items()}
    result = put_back(manifest, targets, store, tmp_path)
    assert live(targets) == [ONE, TWO]
    assert result.resumed
    assert [contents(Path(one.kept)) for one in result.parts] == [OLD, OLD]
    assert before == {name: folders(target) for name, target in targets.items()}, "nothing is staged again"
    assert pending_restore(tmp_path / "state", "demo") is None


def test_what_was_staged_before_is_checked_again(
    manifest: Manifest, targets: dict[str, FolderTarget], store: S3Store, tmp_path: Path
) -> None:
    cut_off(manifest, targets, store, tmp_path)
    (place,) = targets["volume/two"].leftovers()
    (Path(place) / "c").write_bytes(b"somebody wrote here")
    put_back(manifest, targets, store, tmp_path)
    assert live(targets) == [ONE, TWO]
    assert not Path(place).exists()


def test_all_of_it_can_be_asked_for_anew(
    manifest: Manifest, targets: dict[str, FolderTarget], store: S3Store, tmp_path: Path
) -> None:
    cut_off(manifest, targets, store, tmp_path)
    (targets["volume/one"].live / "a").write_bytes(b"written since")
    result = put_back(manifest, targets, store, tmp_path, resume=False)
    assert live(targets) == [ONE, TWO]
    assert not result.resumed


def test_another_restore_may_not_leave_it_mixed(
    manifest: Manifest, targets: dict[str, FolderTarget], store: S3Store, tmp_path: Path
) -> None:
    cut_off(manifest, targets, store, tmp_path)
    with pytest.raises(UsageError, match="was cut off, and volume/one may be switched already"):
        put_back(manifest, targets, store, tmp_path, parts=["two"])
    assert live(targets) == [ONE, OLD]
    put_back(manifest, targets, store, tmp_path, into="copy")
    assert pending_restore(tmp_path / "state", "demo") is not None
    with pytest.raises(UsageError, match="volume/two may be switched already"):
        put_back(manifest, targets, store, tmp_path, parts=["one"])
    put_back(manifest, targets, store, tmp_path, parts=["one"], resume=False)
    assert pending_restore(tmp_path / "state", "demo") is None
    assert targets["volume/two"].leftovers() == ()


def test_a_switch_that_was_done_and_not_recorded_is_known_of(
    manifest: Manifest, targets: dict[str, FolderTarget], store: S3Store, tmp_path: Path
) -> None:
    one = targets["volume/one"]
    real = one.switch

    def switch_and_die(part: Part, place: str) -> str:
        real(part, place)
        raise KeyboardInterrupt

    one.switch = switch_and_die  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        put_back(manifest, targets, store, tmp_path)
    assert live(targets) == [ONE, OLD]
    pending = pending_restore(tmp_path / "state", "demo")
    assert pending is not None
    assert [entry.part for entry in pending.waiting] == ["volume/one", "volume/two"]
    with pytest.raises(UsageError, match="volume/one may be switched already"):
        put_back(manifest, targets, store, tmp_path, parts=["two"])
    one.switch = real  # type: ignore[method-assign]
    put_back(manifest, targets, store, tmp_path)
    assert live(targets) == [ONE, TWO]


def test_a_place_of_somebody_at_work_is_spared(
    manifest: Manifest, targets: dict[str, FolderTarget], store: S3Store, tmp_path: Path
) -> None:
    for name in ("stage-killed", "stage-adrill"):
        write_files(targets["volume/one"].base / name, {"a": b"half"})
    put_back(manifest, targets, store, tmp_path, spare=lambda place: place.endswith("-adrill"))
    assert [Path(place).name for place in targets["volume/one"].leftovers()] == ["stage-adrill"]
    targets["volume/two"].spoil = True
    with pytest.raises(PartFailed):
        put_back(manifest, targets, store, tmp_path, spare=lambda place: place.endswith("-adrill"))
    assert [Path(place).name for place in targets["volume/one"].leftovers()] == ["stage-adrill"]


def test_an_unreadable_journal_is_set_aside(
    manifest: Manifest, targets: dict[str, FolderTarget], store: S3Store, tmp_path: Path
) -> None:
    write_files(tmp_path / "state", {"restore-demo.json": b'{"stack": "demo"'})
    put_back(manifest, targets, store, tmp_path)
    assert live(targets) == [ONE, TWO]
    assert (tmp_path / "state/restore-demo.unreadable").exists()


def test_a_store_that_is_gone_is_told_before_anything_is_staged(
    manifest: Manifest, targets: dict[str, FolderTarget], store: S3Store, tmp_path: Path
) -> None:
    gone = S3Store.connect(bucket="b", endpoint="http://127.0.0.1:9", access_key="a", secret_key="b" * 8)
    with pytest.raises(Unreachable, match="could not be verified"):
        put_back(manifest, targets, gone, tmp_path)
    assert live(targets) == [OLD, OLD]


# --- bringing one file back ---


def test_a_missing_blob_names_blob_and_snapshot(store: S3Store, tmp_path: Path) -> None:
    wanted = FileEntry("model.bin", 1, "e" * 64)
    with pytest.raises(ObjectMissing, match=f"{'e' * 64} .model.bin. of snapshot 20260101T000000Z-abcdef"):
        fetcher(store, LAYOUT, "20260101T000000Z-abcdef")(wanted, tmp_path / "model.bin")
    assert list(tmp_path.iterdir()) == []


def test_links_and_modes_come_back(store: S3Store, tmp_path: Path) -> None:
    fetch = fetcher(store, LAYOUT, "s")
    store.put(LAYOUT.blob(digest(b"x")), b"x")
    fetch(FileEntry("run", 1, digest(b"x"), mode=0o4755), tmp_path / "deep/run")
    fetch(FileEntry("link", 0, "", link="run"), tmp_path / "deep/link")
    assert (tmp_path / "deep/run").stat().st_mode & 0o7777 == 0o755
    assert os.readlink(tmp_path / "deep/link") == "run"
    assert sorted(os.listdir(tmp_path / "deep")) == ["link", "run"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    libc = ctypes.CDLL(None, use_errno=True)
    folder = tmp_path / "small"
    folder.mkdir()
    if libc.mount(b"none", str(folder).encode(), b"tmpfs", 0, b"size=1m") != 0:
        pytest.skip(f"no disk can be mounted here ({os.strerror(ctypes.get_errno())}): run as root on Linux")
    yield folder
    libc.umount2(str(folder).encode(), 2)


def test_a_full_disk_leaves_nothing_and_says_so(store: S3Store, small_disk: Path, tmp_path: Path) -> None:
    big = {"big": os.urandom(3 << 20), "small": b"s"}
    source = FolderSource("one", write_files(tmp_path / "source", big))
    manifest = snapshot_of([source], store, tmp_path / "scratch")
    target = FolderTarget("one", live_folder(small_disk, OLD))
    with pytest.raises(PartFailed, match=r"the disk is full: .* big needs 3145728") as caught:
        put_back(manifest, {"volume/one": target}, store, tmp_path)
    assert "free some space" in caught.value.remedy
    assert contents(target.live) == OLD
    assert [path for path in small_disk.rglob("*") if path.is_file() and path.stat().st_size > 100] == []


def test_a_file_that_did_not_fit_is_gone(store: S3Store, small_disk: Path) -> None:
    content = os.urandom(3 << 20)
    store.put(LAYOUT.blob(digest(content)), content)
    with pytest.raises(PartFailed, match="the disk is full"):
        fetcher(store, LAYOUT, "s")(FileEntry("big", len(content), digest(content)), small_disk / "big")
    assert list(small_disk.iterdir()) == []


def test_a_backup_whose_scratch_disk_is_full_commits_nothing(
    store: S3Store, small_disk: Path, tmp_path: Path
) -> None:
    class Dumping(FolderSource):
        def capture(self, scratch: Path, progress: Any) -> Any:
            (scratch / "rows").write_bytes(b"r" * (2 << 20))
            raise AssertionError("the disk should be full")

    with pytest.raises(OpsError, match="the disk is full"):
        snapshot_of([Dumping("one", tmp_path)], store, small_disk / "scratch")
    assert list(store.list("")) == []
    assert list((small_disk / "scratch").iterdir()) == []


class DownTarget(FolderTarget):
    """A part whose server is not there."""

    def leftovers(self) -> tuple[str, ...]:
        raise Unreachable("nobody answers", remedy="start it")


def test_a_server_that_is_down_keeps_only_its_own_part_from_being_restored(
    manifest: Manifest, targets: dict[str, FolderTarget], store: S3Store, tmp_path: Path
) -> None:
    down = {**targets, "volume/two": DownTarget("two", targets["volume/two"].base)}
    put_back(manifest, down, store, tmp_path, parts=["volume/one"])
    assert contents(down["volume/one"].live) == ONE
    with pytest.raises(Unreachable, match="nobody answers"):
        put_back(manifest, down, store, tmp_path, parts=["volume/two"])
