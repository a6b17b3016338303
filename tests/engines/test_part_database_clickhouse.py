"""ClickHouse as a part: BACKUP and RESTORE of its real engine (chdb), through a real SeaweedFS."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ops_pipelines.adapters.clickhouse import Handover
from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.engines._blobs import fetcher
from ops_pipelines.engines.parts.database_clickhouse import ClickHouseSource, ClickHouseTarget, Staging
from ops_pipelines.engines.parts.kept import KeptDatabases
from ops_pipelines.engines.ports import silent
from ops_pipelines.engines.restore import pending_restore, plan_restore, restore
from ops_pipelines.errors import PartFailed, Refused, Unreachable
from ops_pipelines.policy.layout import Layout
from ops_pipelines.policy.manifest import Manifest
from tests.engines.folders import HeldFence, now, snapshot_of
from tests.engines.killed import Fuse, FusedStore, run_killed
from tests.engines.ticking import Ticking, tick_at_the_journal
from tests.servers.clickhouse import PASSWORD, ClickHouseServer
from tests.servers.seaweed import Seaweed
from tests.waiting import free_port

LAYOUT = Layout()
SCHEMA = """
CREATE DATABASE traces
CREATE TABLE traces.events (id UInt64, body String) ENGINE = MergeTree ORDER BY id
CREATE TABLE traces.latest (id UInt64, v UInt64) ENGINE = ReplacingMergeTree(v) ORDER BY id
CREATE TABLE traces.totals (k UInt8, n UInt64) ENGINE = SummingMergeTree ORDER BY k
CREATE MATERIALIZED VIEW traces.fill TO traces.totals AS SELECT toUInt8(id % 10) AS k, count() AS n FROM traces.events GROUP BY k
CREATE MATERIALIZED VIEW traces.own ENGINE = SummingMergeTree ORDER BY k AS SELECT toUInt8(id % 7) AS k, count() AS n FROM traces.events GROUP BY k
CREATE VIEW traces.few AS SELECT * FROM traces.events WHERE id < 10
CREATE VIEW traces.fewer AS SELECT * FROM traces.few WHERE id < 5
CREATE TABLE traces.`odd é.name` (id UInt64) ENGINE = Log
CREATE TABLE traces.nothing (id UInt64) ENGINE = MergeTree ORDER BY id
INSERT INTO traces.events SELECT number, repeat('x', number % 90) FROM numbers(1000)
INSERT INTO traces.events SELECT number, 'more' FROM numbers(1000, 500)
INSERT INTO traces.latest SELECT number, 1 FROM numbers(100)
INSERT INTO traces.latest SELECT number, 2 FROM numbers(100)
INSERT INTO traces.`odd é.name` SELECT number FROM numbers(5)
"""


def fill(server: ClickHouseServer) -> None:
    for line in SCHEMA.strip().splitlines():
        server.ask(line)


def live(server: ClickHouseServer) -> dict[str, int]:
    """What clients see, and how many rows of it there are."""

    def count(query: str) -> int:
        return int(server.ask(query)[0][0])

    return {
        "events": count("SELECT count() FROM traces.events"),
        "latest": count("SELECT count() FROM traces.latest FINAL"),
        "totals": count("SELECT sum(n) FROM traces.totals"),
        "own": count("SELECT sum(n) FROM traces.own"),
        "few": count("SELECT count() FROM traces.few"),
        "fewer": count("SELECT count() FROM traces.fewer"),
        "odd": count("SELECT count() FROM traces.`odd é.name`"),
    }


WHOLE = {"events": 1500, "latest": 100, "totals": 1500, "own": 1500, "few": 10, "fewer": 5, "odd": 5}


def source(server: ClickHouseServer, seaweed: Seaweed, bucket: str, store: Any) -> ClickHouseSource:
    return ClickHouseSource(
        "traces", "traces", server.adapter(seaweed, bucket), Staging(store, "staging/demo/")
    )


@pytest.fixture
def target(
    clickhouse: ClickHouseServer, seaweed: Seaweed, bucket: str, store: S3Store, tmp_path: Path
) -> ClickHouseTarget:
    adapter = clickhouse.adapter(seaweed, bucket)
    return ClickHouseTarget(
        "traces", "traces", adapter, Staging(store, "staging/demo/"), tmp_path / "restore"
    )


@pytest.fixture
def manifest(
    clickhouse: ClickHouseServer, seaweed: Seaweed, bucket: str, store: S3Store, tmp_path: Path
) -> Manifest:
    fill(clickhouse)
    return snapshot_of([source(clickhouse, seaweed, bucket, store)], store, tmp_path / "scratch")


def put_back(manifest: Manifest, target: ClickHouseTarget, store: Any, state: Path, **words: Any) -> Any:
    usual = {"fence": HeldFence()}
    return restore(manifest, {"database/traces": target}, store=store, layout=LAYOUT, state=state, clock=now,
                   **(usual | words))  # fmt: skip


def test_what_is_kept_goes_and_the_live_one_stays(
    clickhouse: ClickHouseServer, manifest: Manifest, target: ClickHouseTarget, store: S3Store, tmp_path: Path
) -> None:
    put_back(manifest, target, store, tmp_path)
    keeper = KeptDatabases("database/traces", "traces", target.server)  # type: ignore[arg-type]
    [old] = keeper.kept()
    assert old.size is not None
    assert old.size > 0
    with pytest.raises(Refused):
        keeper.remove("traces")
    keeper.remove(old.name)
    assert keeper.kept() == ()
    assert live(clickhouse) == WHOLE


def test_it_comes_back_with_views_that_work_and_the_old_one_is_kept(
    clickhouse: ClickHouseServer, manifest: Manifest, target: ClickHouseTarget, store: S3Store, tmp_path: Path
) -> None:
    facts = manifest.parts[0].facts
    rows = {name: one["rows"] for name, one in facts["tables"].items()}
    assert rows["events"] == 1500
    assert (rows["few"], rows["fill"], rows["nothing"], rows["odd é.name"]) == (None, None, 0, 5)
    assert live(clickhouse) == WHOLE
    assert list(store.list("staging/")) == []
    clickhouse.ask("TRUNCATE TABLE traces.events")
    clickhouse.ask("DROP VIEW traces.few SYNC")
    plan = plan_restore(manifest, {"database/traces": target})
    assert [step.verb for step in plan.steps] == ["create", "switch"]
    result = put_back(manifest, target, store, tmp_path)
    assert live(clickhouse) == WHOLE
    kept = result.parts[0].kept
    assert kept.startswith("traces__before_")
    assert clickhouse.ask(f"SELECT count() FROM {kept}.events") == [[0]]
    clickhouse.ask("INSERT INTO traces.events VALUES (3, 'after')")
    after = live(clickhouse)
    assert (after["totals"], after["own"], after["few"]) == (1501, 1501, 11), (
        "each view fills once, from the new one"
    )
    assert clickhouse.ask(f"SELECT sum(n) FROM {kept}.totals") == [[1500]]
    active = f"SELECT count() FROM system.tables WHERE database = '{kept}' AND engine = 'MaterializedView'"
    assert clickhouse.ask(active) == [[0]], "after a restart they would fill the live tables"
    assert target.leftovers() == ()
    assert list(store.list("staging/")) == []


@pytest.fixture
def default(
    clickhouse: ClickHouseServer, seaweed: Seaweed, bucket: str, store: S3Store, tmp_path: Path
) -> Iterator[tuple[Manifest, ClickHouseTarget]]:
    """The database that a server has from the start, as Langfuse uses it, backed up and then spoilt."""
    for line in (
        "CREATE TABLE default.events (id UInt64) ENGINE = MergeTree ORDER BY id",
        "CREATE TABLE default.totals (n UInt64) ENGINE = MergeTree ORDER BY n",
        "CREATE MATERIALIZED VIEW default.fill TO default.totals AS SELECT count() AS n FROM default.events",
        "INSERT INTO default.events SELECT number FROM numbers(100)",
    ):
        clickhouse.ask(line)
    adapter, staging = clickhouse.adapter(seaweed, bucket), Staging(store, "staging/demo/")
    part = ClickHouseSource("traces", "default", adapter, staging)
    manifest = snapshot_of([part], store, tmp_path / "scratch")
    clickhouse.ask("TRUNCATE TABLE default.events")
    yield manifest, ClickHouseTarget("traces", "default", adapter, staging, tmp_path / "restore")
    for name in adapter.databases():
        if name.startswith("default"):
            adapter.drop(name)
    clickhouse.ask("CREATE DATABASE default ENGINE = Atomic", database="system")


def right(clickhouse: ClickHouseServer, kept: str) -> None:
    """The restored `default` answers, its view works, and the old one is kept with its view at rest."""
    assert clickhouse.ask("SELECT count() FROM default.events") == [[100]]
    clickhouse.ask("INSERT INTO default.events VALUES (7)")
    assert clickhouse.ask("SELECT sum(n) FROM default.totals") == [[101]]
    assert clickhouse.ask(f"SELECT count() FROM {kept}.events") == [[0]]
    of = f"SELECT count() FROM system.tables WHERE database = '{kept}' AND engine = 'MaterializedView'"
    assert clickhouse.ask(of) == [[0]]


def test_the_database_that_a_server_begins_with_comes_back(
    default: tuple[Manifest, ClickHouseTarget], clickhouse: ClickHouseServer, store: S3Store, tmp_path: Path
) -> None:
    manifest, target = default
    kept = put_back(manifest, target, store, tmp_path).parts[0].kept
    assert kept.startswith("default__before_")
    right(clickhouse, kept)
    assert target.leftovers() == ()


@pytest.mark.parametrize("restarted", [False, True])
def test_a_switch_that_was_killed_between_its_renames_goes_on(
    default: tuple[Manifest, ClickHouseTarget],
    clickhouse: ClickHouseServer,
    store: S3Store,
    tmp_path: Path,
    restarted: bool,
) -> None:
    manifest, target = default

    class Killed(Exception):
        pass

    class Dies:
        """The server, at which a process dies before the second rename."""

        renames = 0

        def __getattr__(self, name: str) -> Any:
            self.renames += name == "rename"
            if self.renames == 2:
                raise Killed
            return getattr(target.server, name)

    with pytest.raises(Killed):
        put_back(manifest, replace(target, server=Dies()), store, tmp_path)
    assert "default" not in target.server.databases()
    if restarted:  # it makes what it cannot do without
        clickhouse.ask("CREATE DATABASE default ENGINE = Atomic", database="system")
    kept = put_back(manifest, target, store, tmp_path).parts[0].kept
    assert [name for name in target.server.databases() if "__before_" in name] == [kept]
    right(clickhouse, kept)
    assert target.leftovers() == ()


def test_an_unchanged_part_is_not_stored_again(
    clickhouse: ClickHouseServer,
    seaweed: Seaweed,
    bucket: str,
    manifest: Manifest,
    store: S3Store,
    tmp_path: Path,
) -> None:
    clickhouse.ask("INSERT INTO traces.`odd é.name` VALUES (6)")
    again = snapshot_of([source(clickhouse, seaweed, bucket, store)], store, tmp_path / "scratch")
    assert again.parts[0].facts["rows"] == manifest.parts[0].facts["rows"] + 1
    assert again.uploaded < 0.6 * manifest.uploaded


def test_a_copy_beside_leaves_the_live_one(
    clickhouse: ClickHouseServer, manifest: Manifest, target: ClickHouseTarget, store: S3Store, tmp_path: Path
) -> None:
    clickhouse.ask("TRUNCATE TABLE traces.events")
    result = put_back(manifest, target, store, tmp_path, into="drill")
    assert result.parts[0].place == "traces__restore_drill"
    assert clickhouse.ask("SELECT count() FROM traces.events") == [[0]]
    assert clickhouse.ask("SELECT count() FROM traces__restore_drill.few") == [[10]]
    target.discard("traces__restore_drill")
    assert target.leftovers() == ()
    for place in ("traces", "default", "traces__before_x"):
        with pytest.raises(PartFailed):
            target.discard(place)


def test_a_database_that_is_gone_comes_back(
    clickhouse: ClickHouseServer, manifest: Manifest, target: ClickHouseTarget, store: S3Store, tmp_path: Path
) -> None:
    clickhouse.ask("DROP DATABASE traces SYNC")
    assert put_back(manifest, target, store, tmp_path).parts[0].kept == ""
    assert live(clickhouse) == WHOLE


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("TRUNCATE TABLE {}.events", "has 0 rows instead of 1500"),
        ("INSERT INTO {}.nothing VALUES (1)", "has 1 rows instead of 0"),
        ("DROP TABLE {}.latest SYNC", "is missing"),
        ("CREATE TABLE {}.other (id UInt8) ENGINE = Memory", "is not in the snapshot"),
    ],
)
def test_what_is_not_as_backed_up_fails_the_check(
    clickhouse: ClickHouseServer,
    manifest: Manifest,
    target: ClickHouseTarget,
    store: S3Store,
    change: str,
    words: str,
) -> None:
    part = manifest.parts[0]
    place = target.stage(part, None, fetcher(store, LAYOUT, manifest.snapshot), silent)
    assert [finding.ok for finding in target.check(part, place, full=True)] == [True]
    clickhouse.ask(f"OPTIMIZE TABLE {place}.latest FINAL")
    assert [finding.ok for finding in target.check(part, place, full=True)] == [True], (
        "merged rows are no loss"
    )
    clickhouse.ask(change.format(place))
    (finding,) = target.check(part, place, full=True)
    assert (finding.ok, finding.message) == (False, words)
    target.discard(place)
    assert [finding.ok for finding in target.check(part, place, full=True)] == [None]


def test_probes_are_asked_again_of_what_was_restored(
    clickhouse: ClickHouseServer,
    seaweed: Seaweed,
    bucket: str,
    store: S3Store,
    target: ClickHouseTarget,
    tmp_path: Path,
) -> None:
    fill(clickhouse)
    probes = {"sum": "SELECT sum(id) FROM events", "restless": "SELECT generateUUIDv4()"}
    probed = replace(source(clickhouse, seaweed, bucket, store), probes=probes)
    part = snapshot_of([probed], store, tmp_path / "scratch").parts[0]
    assert part.facts["probes"]["restless"]["answer"] is None
    place = target.stage(part, None, fetcher(store, LAYOUT, "x"), silent)
    assert [finding.ok for finding in target.check(part, place, full=True)] == [True, None, True]
    clickhouse.ask(f"ALTER TABLE {place}.events UPDATE body = 'x' WHERE 1 SETTINGS mutations_sync = 1")
    assert [finding.ok for finding in target.check(part, place, full=True)] == [True, None, True]
    clickhouse.ask(f"CREATE TABLE {place}.more AS {place}.events ORDER BY id")
    clickhouse.ask(f"INSERT INTO {place}.more SELECT id + 1, body FROM {place}.events")
    clickhouse.ask(f"EXCHANGE TABLES {place}.more AND {place}.events")
    clickhouse.ask(f"DROP TABLE {place}.more SYNC")
    good, unknown, changed = target.check(part, place, full=True)
    assert (good.ok, unknown.ok, changed.ok) == (True, None, False), "as many rows, and not the same"
    with pytest.raises(Refused, match="readonly"):
        target.server.ask(place, "DROP TABLE events")


def test_what_a_killed_run_had_asked_for_is_waited_for(
    clickhouse: ClickHouseServer, seaweed: Seaweed, bucket: str, store: S3Store, tmp_path: Path
) -> None:
    """The server goes on after the process that asked has died: two of them would write to one place."""
    fill(clickhouse)
    clickhouse.ask("INSERT INTO traces.events SELECT number, randomPrintableASCII(200) FROM numbers(300000)")
    one = source(clickhouse, seaweed, bucket, store)
    place = f"S3('{seaweed.endpoint}/{bucket}/staging/demo/backup', '{seaweed.access_key}', '{seaweed.secret_key}')"
    clickhouse.ask(f"BACKUP DATABASE traces TO {place} SETTINGS deduplicate_files = 0 ASYNC")
    running = "SELECT count() FROM system.backups WHERE status = 'CREATING_BACKUP'"
    assert clickhouse.ask(running) == [[1]], "it still runs"
    manifest = snapshot_of([one], store, tmp_path / "scratch")
    assert manifest.parts[0].facts["tables"]["events"]["rows"] == 301_500
    assert clickhouse.ask(running) == [[0]]
    assert list(store.list("staging/")) == []


def test_secrets_are_in_no_error(
    clickhouse: ClickHouseServer, seaweed: Seaweed, bucket: str, store: S3Store, tmp_path: Path
) -> None:
    fill(clickhouse)
    adapter = clickhouse.adapter(seaweed, "no-such-bucket")
    failing = ClickHouseSource("traces", "traces", adapter, Staging(store, "staging/demo/"))
    with pytest.raises(PartFailed) as caught:
        snapshot_of([failing], store, tmp_path / "s")
    assert seaweed.secret_key not in str(caught.value)
    kept = str(clickhouse.ask("SELECT * FROM system.backups"))
    assert seaweed.secret_key not in kept
    assert "[HIDDEN]" in kept
    assert seaweed.secret_key not in repr(adapter)
    with pytest.raises(Refused, match=r"\*\*\*") as told:  # a server names the place of a mistake by its text
        adapter.ask("traces", f"SELECT 1 FROM ('{seaweed.secret_key}', '{PASSWORD}'")
    assert seaweed.secret_key not in str(told.value)
    assert PASSWORD not in str(told.value)
    assert list(store.list("")) == []


def test_a_server_that_does_not_reach_the_bucket_is_not_waited_for(
    clickhouse: ClickHouseServer, seaweed: Seaweed, bucket: str
) -> None:
    fill(clickhouse)
    nowhere = Handover(f"http://127.0.0.1:{free_port()}/{bucket}", "key", "secret-of-the-store")
    adapter = clickhouse.adapter(seaweed, bucket, handover=nowhere, silence=1.0)
    with pytest.raises(PartFailed, match="may not reach") as caught:
        adapter.back_up("traces", "staging/nowhere", lambda _: None)
    assert nowhere.url in caught.value.message
    assert "handover" in caught.value.remedy
    assert "secret-of-the-store" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"password": "wrong"}, Refused, "Authentication failed"),
        ({"address": "http://127.0.0.1:9"}, Unreachable, "does not answer"),
    ],
)
def test_a_server_that_lets_nobody_in(
    clickhouse: ClickHouseServer,
    seaweed: Seaweed,
    bucket: str,
    changes: Any,
    error: type[Exception],
    words: str,
) -> None:
    with pytest.raises(error, match=words):
        clickhouse.adapter(seaweed, bucket, **changes).version()


def die(
    server: ClickHouseServer, seaweed: Seaweed, bucket: str, manifest: Manifest, folder: Path, at: int
) -> None:
    fuse = Fuse(at)
    tick_at_the_journal(fuse)
    store = FusedStore(seaweed.store(bucket), fuse)
    adapter = Ticking(server.adapter(seaweed, bucket), fuse)
    target = ClickHouseTarget(
        "traces", "traces", adapter, Staging(seaweed.store(bucket), "staging/demo/"), folder / "r"
    )
    put_back(manifest, target, store, folder, fence=HeldFence(tick=fuse.tick))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_restore_killed_at_any_step(
    clickhouse: ClickHouseServer, seaweed: Seaweed, bucket: str, store: S3Store, tmp_path: Path
) -> None:
    for line in (
        "CREATE DATABASE traces", "CREATE TABLE traces.t (id UInt64) ENGINE = MergeTree ORDER BY id",
        "CREATE TABLE traces.n (n UInt64) ENGINE = MergeTree ORDER BY n",
        "CREATE MATERIALIZED VIEW traces.v TO traces.n AS SELECT count() AS n FROM traces.t",
        "INSERT INTO traces.t SELECT number FROM numbers(100)",
    ):  # fmt: skip
        clickhouse.ask(line)
    manifest = snapshot_of([source(clickhouse, seaweed, bucket, store)], store, tmp_path / "s")
    adapter = clickhouse.adapter(seaweed, bucket)
    target = ClickHouseTarget("traces", "traces", adapter, Staging(store, "staging/demo/"), tmp_path / "r")
    seen = []
    for at in range(1, 300, 7):
        clickhouse.ask("INSERT INTO traces.t VALUES (7777)")
        old = clickhouse.ask("SELECT count() FROM traces.t")[0][0]
        died = run_killed(die, clickhouse, seaweed, bucket, manifest, tmp_path, at)
        if not died:
            break
        there = adapter.databases()
        rows = clickhouse.ask("SELECT count() FROM traces.t")[0][0] if "traces" in there else None
        assert rows in (None, 100, old), f"a half at step {at}"
        assert rows is not None or any("__before_" in name for name in there), "the old one is still there"
        seen.append(rows == old)
        put_back(manifest, target, store, tmp_path)
        assert clickhouse.ask("SELECT count() FROM traces.t") == [[100]]
        clickhouse.ask("INSERT INTO traces.t VALUES (1)")
        assert clickhouse.ask("SELECT sum(n) FROM traces.n") == [[101]], f"its view works after step {at}"
        assert target.leftovers() == ()
        assert pending_restore(tmp_path / "state", "demo") is None
        kept = [name for name in adapter.databases() if "__before_" in name]
        assert any(clickhouse.ask(f"SELECT countIf(id = 7777) FROM `{name}`.t") == [[1]] for name in kept)
        for name in kept:
            adapter.drop(name)
    else:
        pytest.fail("no run came to its end")
    assert at > 30
    assert True in seen
    assert False in seen, "the switch itself was reached"
