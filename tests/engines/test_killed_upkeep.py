"""kill -9 at every step of a prune, a sweep and a drill: nothing that stays is harmed, and the next run finishes.

The store is a real one. Leases that a killed run leaves are taken away at once, as time would.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.engines import snapshots as engine
from ops_pipelines.engines.prune import prune
from ops_pipelines.engines.sweep import sweep
from ops_pipelines.engines.verify import verify_snapshot
from ops_pipelines.policy.plan import failed
from ops_pipelines.settings import load_settings
from ops_pipelines.stack.operations import Keep
from ops_pipelines.wiring import drills, listing, snapshots
from ops_pipelines.wiring.site import load_fleet
from tests.engines.folders import HeldFence, write_files
from tests.engines.killed import Fuse, FusedStore, run_killed
from tests.engines.snapshot_kit import LAYOUT, commit, keys, put_blob
from tests.servers.seaweed import Seaweed
from tests.wiring.stand import Stand, stand

__all__ = ["stand"]

MOST = 400
"""Steps that no run of these tests reaches."""
PASSED = timedelta(seconds=-5)
"""A grace period that has passed for everything: store times are whole seconds."""
KEEP = Keep(days=30, last=1)


def without_leases(store: S3Store) -> None:
    leases = ("lease.json", "drill.json", "sweep.json")
    store.delete([info.key for info in store.list("") if info.key.endswith(leases)])


def listed_are_whole(store: S3Store, stack: str = "chat") -> list[str]:
    found = [one.id for one in engine.list_snapshots(store, LAYOUT, stack) if one.complete]
    for snapshot in found:
        manifest = engine.load_manifest(store, LAYOUT, stack, snapshot)
        assert not failed(verify_snapshot(manifest, store=store, layout=LAYOUT, depth="checksums")), snapshot
    return found


def prune_and_die(seaweed: Seaweed, bucket: str, at: int) -> None:
    fuse = Fuse(at)
    prune(FusedStore(seaweed.store(bucket), fuse), LAYOUT, "chat", KEEP, fence=HeldFence(tick=fuse.tick))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_prune_killed_at_any_step(seaweed: Seaweed, bucket: str, store: S3Store) -> None:
    seen = set()
    for at in range(1, MOST):
        old = [commit(store, days_ago=days, contents=(b"%d" % days,)) for days in (40, 50)]
        new = commit(store, contents=(b"new",))
        for snapshot in (*old, new):
            engine.mark(store, LAYOUT, "chat", snapshot, "verified", {})
        if not run_killed(prune_and_die, seaweed, bucket, at):
            break
        left = listed_are_whole(store)
        assert new in left
        seen.add(len(left))
        prune(store, LAYOUT, "chat", KEEP, fence=HeldFence())
        assert listed_are_whole(store) == [new]
        store.delete([info.key for info in store.list(LAYOUT.snapshots("chat"))])
    else:
        pytest.fail(f"no run came to its end within {MOST} steps")
    assert seen == {3, 2, 1}, "killed before, between and after the removals"


def sweep_and_die(seaweed: Seaweed, bucket: str, at: int) -> None:
    sweep(FusedStore(seaweed.store(bucket), Fuse(at)), LAYOUT, holder="dies", ttl=60.0, grace=PASSED)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_sweep_killed_at_any_step(seaweed: Seaweed, bucket: str, store: S3Store) -> None:
    kept = commit(store, contents=(b"kept", b"shared"))
    commit(store, stack="other", contents=(b"shared",))
    blobs = keys(store, LAYOUT.blobs)
    for at in range(1, MOST, 3):  # before and after its calls in turn; test_histories has every request
        for content in (b"waste", b"more waste"):
            put_blob(store, content)
        killed = run_killed(sweep_and_die, seaweed, bucket, at)
        assert listed_are_whole(store) == [kept]
        assert len(listed_are_whole(store, "other")) == 1
        without_leases(store)
        sweep(store, LAYOUT, holder="next", ttl=60.0, grace=PASSED)
        assert keys(store, LAYOUT.blobs) == blobs
        if not killed:
            break
    else:
        pytest.fail(f"no run came to its end within {MOST} steps")
    assert at > 30


def drill_and_die(folder: Path, environ: dict[str, str], at: int) -> None:
    site = load_fleet(load_settings(environ, cwd=folder)).site("chat")
    fuse = Fuse(at)
    fused = FusedStore(drills.object_store(site), fuse)
    modules: tuple[Any, ...] = (drills, listing)
    for module in modules:
        module.object_store = lambda _: fused
    drills.drill(site, full=True, progress=lambda *_: fuse.tick())


def digest_of(folder: Path) -> dict[str, str]:
    """Every file below a folder: its path and the digest of its content, links as what they say."""
    return {
        str(path.relative_to(folder)): str(path.readlink())
        if path.is_symlink()
        else f"{path.stat().st_mode:o} {path.stat().st_mtime_ns} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_drill_killed_at_any_step_touches_nothing_live_and_the_next_clears_up(stand: Stand) -> None:
    live, scratch = stand.folder / "live", stand.folder / "scratch"
    write_files(live / "models", {"m/config.json": b"{}", "m/weights.bin": b"w" * 9000})
    write_files(live / "files", {"a": b"alpha", "b/c": b"gamma"})
    site = stand.change(
        caches={"models": {"layout": "directory", "path": str(live / "models")}},
        volumes={"files": {"path": str(live / "files")}},
        drill={"folder": str(scratch)},
    )
    taken = snapshots.backup(site, by="test")
    assert {part.key for part in taken.parts} >= {"model_cache/models", "volume/files", "configuration/chat"}
    before, beside = digest_of(live), sorted(path.name for path in live.iterdir())
    left_over = 0
    for at in range(1, MOST, 2):
        killed = run_killed(drill_and_die, stand.folder, stand.environ, at)
        assert digest_of(live) == before, f"something live was touched by step {at}"
        assert sorted(path.name for path in live.iterdir()) == beside
        left_over += scratch.exists() and any(scratch.rglob("*"))
        without_leases(stand.store)
        if not killed:
            break
        if at % 8 == 1:
            assert drills.drill(site, full=True).verdict == "passed"
            assert not list(scratch.iterdir()), "what the killed one left is gone"
    else:
        pytest.fail(f"no run came to its end within {MOST} steps")
    assert left_over, "some were killed while their places were there"
    assert drills.drill(site, full=True).verdict == "passed"
    assert not list(scratch.iterdir())
