"""A restore of Redis whose process is killed, for real, at each of its steps: the old keys or the new, never a half."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.engines.parts.database_redis import RedisSource, RedisTarget
from ops_pipelines.engines.restore import pending_restore, restore
from ops_pipelines.policy.layout import Layout
from ops_pipelines.policy.manifest import Manifest
from tests.engines.folders import HeldFence, now, snapshot_of
from tests.engines.killed import Fuse, FusedStore, run_killed
from tests.engines.ticking import Ticking, tick_at_the_journal
from tests.servers.redis import RedisServer
from tests.servers.seaweed import Seaweed

MOST = 200


def put_back(server: RedisServer, store: Any, manifest: Manifest, folder: Path, fuse: Fuse) -> None:
    target = RedisTarget("cache", Ticking(server.adapter(), fuse), folder / "scratch")
    restore(manifest, {"database/cache": target}, store=store, layout=Layout(), fence=HeldFence(tick=fuse.tick),
            state=folder / "state", clock=now)  # fmt: skip


def put_back_and_die(
    server: RedisServer, seaweed: Seaweed, bucket: str, manifest: Manifest, folder: Path, at: int
) -> None:
    fuse = Fuse(at)
    tick_at_the_journal(fuse)
    put_back(server, FusedStore(seaweed.store(bucket), fuse), manifest, folder, fuse)


def live(server: RedisServer) -> dict[int, dict[bytes, bytes]]:
    found: dict[int, dict[bytes, bytes]] = {}
    for number in (0, 3):
        client: Any = server.client(number)
        found[number] = {key: client.get(key) for key in client.scan_iter()}
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_restore_killed_at_any_step(
    redis_server: RedisServer, seaweed: Seaweed, bucket: str, store: S3Store, tmp_path: Path
) -> None:
    redis_server.client().mset({f"key {n}": n for n in range(300)})
    redis_server.client(3).mset({"other": 1})
    wanted = live(redis_server)
    manifest = snapshot_of([RedisSource("cache", redis_server.adapter())], store, tmp_path / "s")
    old = {0: {b"old": b"1"}, 3: {b"old": b"2"}}
    seen = []
    for at in range(1, MOST):
        redis_server.client().flushall()
        redis_server.client(0).set("old", 1)
        redis_server.client(3).set("old", 2)
        died = run_killed(put_back_and_die, redis_server, seaweed, bucket, manifest, tmp_path, at)
        found = live(redis_server)
        assert found in (old, wanted), f"a half at step {at}"
        if not died:
            break
        seen.append(found == wanted)
        put_back(redis_server, store, manifest, tmp_path, Fuse(0))
        assert live(redis_server) == wanted
        kept = [n for n in range(8) if redis_server.client(n).get("old")]
        assert len(kept) == 2, f"what was live at step {at} is kept"
        target = RedisTarget("cache", redis_server.adapter(), tmp_path / "scratch")
        assert target.leftovers() == ()
        assert pending_restore(tmp_path / "state", "demo") is None
    else:
        pytest.fail(f"no run came to its end within {MOST} steps")
    assert at > 30, "so many steps have been killed"
    assert True in seen, "the switch itself was reached"
    assert False in seen
