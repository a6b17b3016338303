"""A restore of PostgreSQL whose process is killed, for real, at its steps: the old rows or the new, never a half."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.engines.parts.database import DatabaseSource, DatabaseTarget
from ops_pipelines.engines.restore import pending_restore, restore
from ops_pipelines.policy.layout import Layout
from ops_pipelines.policy.manifest import Manifest
from tests.engines.folders import HeldFence, now, snapshot_of
from tests.engines.killed import Fuse, FusedStore, run_killed
from tests.engines.ticking import Ticking, tick_at_the_journal
from tests.servers.postgres import PostgresServer
from tests.servers.seaweed import Seaweed


def put_back(server: Any, database: str, store: Any, manifest: Manifest, folder: Path, fuse: Fuse) -> None:
    target = DatabaseTarget("keys", database, Ticking(server.adapter(), fuse), folder / "scratch")
    restore(manifest, {"database/keys": target}, store=store, layout=Layout(), fence=HeldFence(tick=fuse.tick),
            state=folder / "state", clock=now)  # fmt: skip


def die(
    server: PostgresServer,
    database: str,
    seaweed: Seaweed,
    bucket: str,
    manifest: Manifest,
    folder: Path,
    at: int,
) -> None:
    fuse = Fuse(at)
    tick_at_the_journal(fuse)
    put_back(server, database, FusedStore(seaweed.store(bucket), fuse), manifest, folder, fuse)


def count(server: PostgresServer, database: str) -> int:
    with server.connect(database) as connection:
        found = connection.execute("SELECT count(*) FROM keys").fetchone()
    return int(found[0]) if found else -1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_restore_killed_at_any_step(
    postgres: PostgresServer,
    postgres_database: str,
    seaweed: Seaweed,
    bucket: str,
    store: S3Store,
    tmp_path: Path,
) -> None:
    adapter = postgres.adapter()
    with postgres.connect(postgres_database) as connection:
        connection.execute("CREATE TABLE keys AS SELECT generate_series(1, 100) AS id")
    manifest = snapshot_of([DatabaseSource("keys", postgres_database, adapter)], store, tmp_path / "s")
    target = DatabaseTarget("keys", postgres_database, adapter, tmp_path / "scratch")
    seen = []
    for at in range(1, 200, 2):
        with postgres.connect(postgres_database) as connection:
            connection.execute("DELETE FROM keys WHERE id > 5")
        died = run_killed(die, postgres, postgres_database, seaweed, bucket, manifest, tmp_path, at)
        rows = count(postgres, postgres_database)
        assert rows in (5, 100), f"a half at step {at}"
        if not died:
            break
        seen.append(rows)
        put_back(postgres, postgres_database, store, manifest, tmp_path, Fuse(0))
        assert count(postgres, postgres_database) == 100
        assert target.leftovers() == ()
        assert pending_restore(tmp_path / "state", "demo") is None
        kept = [name for name in adapter.databases() if name.startswith(f"{postgres_database}__before_")]
        assert 5 in [count(postgres, name) for name in kept], f"what was live at step {at} is kept"
        for name in kept:
            adapter.drop(name)
    else:
        pytest.fail("no run came to its end")
    assert at > 20
    assert {5, 100} == set(seen)
