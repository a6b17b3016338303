"""A database as a part: backed up to a real SeaweedFS, restored beside, switched by rename."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyrage
import pytest
from psycopg.sql import SQL, Identifier

from ops_pipelines.adapters.age import AgeOpener, AgeSealer
from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.engines._blobs import fetcher
from ops_pipelines.engines.parts.database import DatabaseSource, DatabaseTarget
from ops_pipelines.engines.parts.encrypted import EncryptedSource, EncryptedTarget
from ops_pipelines.engines.parts.kept import KeptDatabases
from ops_pipelines.engines.ports import silent
from ops_pipelines.engines.restore import pending_restore, plan_restore, restore
from ops_pipelines.errors import CommandFailed, OpsError, PartFailed, Refused
from ops_pipelines.policy.layout import Layout
from ops_pipelines.policy.manifest import Manifest
from tests.engines.folders import HeldFence, now, snapshot_of
from tests.servers.postgres import PostgresServer

LAYOUT = Layout()


@pytest.fixture
def database(postgres: PostgresServer, postgres_database: str) -> str:
    with postgres.connect(postgres_database) as connection:
        connection.execute("CREATE TABLE keys (id int PRIMARY KEY, body text)")
        connection.execute("INSERT INTO keys SELECT n, repeat('x', n % 90) FROM generate_series(1, 2000) n")
    return postgres_database


@pytest.fixture
def target(postgres: PostgresServer, database: str, tmp_path: Path) -> DatabaseTarget:
    return DatabaseTarget("litellm", database, postgres.adapter(), tmp_path / "scratch/restore")


@pytest.fixture
def manifest(postgres: PostgresServer, database: str, store: S3Store, tmp_path: Path) -> Manifest:
    source = DatabaseSource("litellm", database, postgres.adapter(), needs=["salt-key"])
    return snapshot_of([source], store, tmp_path / "scratch")


def put_back(manifest: Manifest, target: DatabaseTarget, store: S3Store, tmp_path: Path, **words: Any) -> Any:
    return restore(
        manifest,
        {"database/litellm": target},
        store=store,
        layout=LAYOUT,
        fence=HeldFence(),
        state=tmp_path / "state",
        clock=now,
        **words,
    )


def rows(postgres: PostgresServer, database: str) -> int:
    with postgres.connect(database) as connection:
        found = connection.execute("SELECT count(*) FROM keys").fetchone()
    return int(found[0]) if found else -1


def lose_rows(postgres: PostgresServer, database: str) -> None:
    with postgres.connect(database) as connection:
        connection.execute("DELETE FROM keys WHERE id > 10")


def beside(postgres: PostgresServer, database: str) -> list[str]:
    return [name for name in postgres.adapter().databases() if name.startswith(database) and name != database]


def test_it_comes_back_and_the_old_one_is_kept(
    postgres: PostgresServer,
    database: str,
    manifest: Manifest,
    target: DatabaseTarget,
    store: S3Store,
    tmp_path: Path,
) -> None:
    part = manifest.parts[0]
    assert [entry.path for entry in part.files] == ["database.dump", "globals.sql"]
    assert (part.facts["rows"], part.facts["tables"]) == (2000, {"public.keys": 2000})
    assert part.consistency == "quiesced"
    lose_rows(postgres, database)
    plan = plan_restore(manifest, {"database/litellm": target})
    assert [step.verb for step in plan.steps] == ["create", "check", "switch"]
    assert "salt-key" in plan.steps[1].detail
    for times in (1, 2):  # the same snapshot twice keeps two old ones
        result = put_back(manifest, target, store, tmp_path)
        assert rows(postgres, database) == 2000
        assert len(beside(postgres, database)) == times
    assert result.parts[0].kept in beside(postgres, database)
    assert sorted(rows(postgres, name) for name in beside(postgres, database)) == [10, 2000]
    assert not (tmp_path / "scratch/restore").exists() or not list((tmp_path / "scratch/restore").iterdir())


def test_what_is_kept_goes_when_nobody_uses_it(
    postgres: PostgresServer,
    database: str,
    manifest: Manifest,
    target: DatabaseTarget,
    store: S3Store,
    tmp_path: Path,
) -> None:
    keeper = KeptDatabases("database/litellm", database, postgres.adapter())
    assert keeper.kept() == ()
    put_back(manifest, target, store, tmp_path)
    put_back(manifest, target, store, tmp_path, into="look")
    [old] = keeper.kept()
    assert old.size is not None
    assert old.size > 1_000_000
    for name in (database, target.leftovers()[0], "postgres"):
        with pytest.raises(Refused, match="nothing that a restore"):
            keeper.remove(name)
    with postgres.connect(old.name), pytest.raises(Refused, match="accessed by other users"):
        keeper.remove(old.name)
    assert rows(postgres, old.name) == 2000
    keeper.remove(old.name)
    assert keeper.kept() == ()
    assert rows(postgres, database) == 2000


def test_probes_are_asked_again_of_what_was_restored(
    postgres: PostgresServer, database: str, target: DatabaseTarget, store: S3Store, tmp_path: Path
) -> None:
    probes = {
        "sum": "SELECT sum(id), min(body), now() > '2020-01-01' FROM keys",
        "none": "SELECT 1 WHERE false",
    }
    source = DatabaseSource("litellm", database, postgres.adapter(), probes=probes)
    manifest = snapshot_of([source], store, tmp_path / "scratch")
    part = manifest.parts[0]
    assert part.facts["probes"]["sum"] == {"sql": probes["sum"], "answer": [[2001000, "", True]]}
    lose_rows(postgres, database)
    place = target.stage(part, None, fetcher(store, LAYOUT, manifest.snapshot), silent)
    assert [finding.ok for finding in target.check(part, place, full=True)] == [True, True, True]
    with postgres.connect(place) as connection:
        connection.execute("UPDATE keys SET id = 9000 WHERE id = 9")
    (rows_, none, changed) = target.check(part, place, full=True)
    assert (rows_.ok, none.ok, changed.ok) == (True, True, False), "as many rows, and not the same"
    assert "2009991" in changed.message
    with postgres.connect(place) as connection:
        connection.execute("ALTER TABLE keys RENAME body TO other")
    assert [one.ok for one in target.check(part, place, full=True)] == [True, True, False]


@pytest.mark.parametrize("sql", ["SELECT missing FROM keys", "DELETE FROM keys RETURNING 1"])
def test_a_probe_that_cannot_be_asked_fails_the_backup(
    postgres: PostgresServer, database: str, store: S3Store, tmp_path: Path, sql: str
) -> None:
    source = DatabaseSource("litellm", database, postgres.adapter(), probes={"bad": sql})
    with pytest.raises(PartFailed, match=r"missing|read-only"):
        snapshot_of([source], store, tmp_path / "scratch")
    assert rows(postgres, database) == 2000


def test_a_copy_beside_leaves_the_live_one(
    postgres: PostgresServer,
    database: str,
    manifest: Manifest,
    target: DatabaseTarget,
    store: S3Store,
    tmp_path: Path,
) -> None:
    lose_rows(postgres, database)
    result = put_back(manifest, target, store, tmp_path, into="drill-1")
    assert (rows(postgres, database), rows(postgres, result.parts[0].place)) == (10, 2000)
    assert target.leftovers() == (f"{database}__restore_drill-1",)
    target.discard(result.parts[0].place)
    assert beside(postgres, database) == []


def test_a_database_that_is_gone_comes_back(
    postgres: PostgresServer,
    database: str,
    manifest: Manifest,
    target: DatabaseTarget,
    store: S3Store,
    tmp_path: Path,
) -> None:
    postgres.adapter().drop(database)
    assert put_back(manifest, target, store, tmp_path).parts[0].kept == ""
    assert rows(postgres, database) == 2000


def test_rows_that_are_missing_fail_the_check(
    postgres: PostgresServer, manifest: Manifest, target: DatabaseTarget, store: S3Store
) -> None:
    part = manifest.parts[0]
    place = target.stage(part, None, fetcher(store, LAYOUT, manifest.snapshot), silent)
    assert [finding.ok for finding in target.check(part, place, full=True)] == [True]
    with postgres.connect(place) as connection:
        connection.execute("DELETE FROM keys WHERE id = 7")
    (finding,) = target.check(part, place, full=True)
    assert (finding.ok, finding.message) == (False, "has 1999 rows instead of 2000")
    with postgres.connect() as connection:
        connection.execute(SQL("DROP DATABASE {}").format(Identifier(place)))
    assert [finding.ok for finding in target.check(part, place, full=True)] == [None]


def test_a_newer_server_s_dump_is_refused_before_anything_is_made(
    postgres: PostgresServer,
    database: str,
    manifest: Manifest,
    target: DatabaseTarget,
    store: S3Store,
    tmp_path: Path,
) -> None:
    part = manifest.parts[0]
    newer = replace(manifest, parts=(replace(part, facts={**part.facts, "server": 990001}),))
    with pytest.raises(PartFailed, match=r"was dumped from PostgreSQL 99, and .* is version \d+") as caught:
        put_back(newer, target, store, tmp_path)
    assert "start a PostgreSQL 99 or newer" in caught.value.remedy
    assert beside(postgres, database) == []


def test_facts_that_are_no_database_s_are_an_error(manifest: Manifest, target: DatabaseTarget) -> None:
    part = replace(manifest.parts[0], facts={"rows": 1})
    with pytest.raises(PartFailed, match="the facts are not a database's"):
        target.plan(part, None)


def test_only_places_are_discarded(postgres: PostgresServer, database: str, target: DatabaseTarget) -> None:
    for place in (database, "postgres", f"{database}__before_abc"):
        with pytest.raises(PartFailed):
            target.discard(place)
    assert database in postgres.adapter().databases()


def test_a_server_that_is_gone_fails_the_backup_by_name(
    postgres: PostgresServer, database: str, store: S3Store, tmp_path: Path
) -> None:
    source = DatabaseSource("litellm", database, postgres.adapter(port=9))
    with pytest.raises(
        PartFailed, match=r"database/litellm cannot be read: PostgreSQL at .* does not answer"
    ):
        snapshot_of([source], store, tmp_path / "s")
    assert list(store.list("")) == []


class Dying:
    """The server, dying at one call before or after it is done."""

    def __init__(self, real: Any, call: str, after: bool) -> None:
        self._real, self._call, self._after = real, call, after

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if name != self._call:
            return found

        def dying(*arguments: Any) -> Any:
            if self._after:
                found(*arguments)
            raise Died

        return dying


class Died(BaseException):
    """Stands for the end of the process: nothing of ours runs after it, as undoing finds the server gone."""


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", ["drop", "create_roles", "restore", "state", "swap"])
def test_a_restore_that_dies_is_finished_by_the_next(
    postgres: PostgresServer,
    database: str,
    manifest: Manifest,
    target: DatabaseTarget,
    store: S3Store,
    tmp_path: Path,
    call: str,
    after: bool,
) -> None:
    lose_rows(postgres, database)
    dying = replace(target, server=Dying(target.server, call, after))
    dying_leaves = replace(target, server=Gone(dying.server))
    with pytest.raises(Died):
        put_back(manifest, dying_leaves, store, tmp_path)
    assert rows(postgres, database) in (10, 2000)
    put_back(manifest, target, store, tmp_path)
    assert rows(postgres, database) == 2000
    assert target.leftovers() == ()
    assert 10 in [rows(postgres, name) for name in beside(postgres, database)], "the old one is kept"
    assert pending_restore(tmp_path / "state", "demo") is None


class Gone:
    """A server that answers nothing any more once it has died: what a killed process would do to it."""

    def __init__(self, real: Any) -> None:
        self._real, self._dead = real, False

    def __getattr__(self, name: str) -> Any:
        if self._dead:
            raise CommandFailed("the process is dead", remedy="")
        found = getattr(self._real, name)
        if not callable(found):
            return found

        def call(*arguments: Any) -> Any:
            try:
                return found(*arguments)
            except Died:
                self._dead = True
                raise

        return call


def test_a_word_that_names_no_place(manifest: Manifest, target: DatabaseTarget) -> None:
    with pytest.raises(OpsError, match="names no place"):
        target.plan(manifest.parts[0], "a/b")


def test_encrypted_it_comes_back_as_before_and_lies_nowhere_in_clear(
    postgres: PostgresServer, database: str, target: DatabaseTarget, store: S3Store, tmp_path: Path
) -> None:
    key = pyrage.x25519.Identity.generate()
    source = EncryptedSource(
        DatabaseSource("litellm", database, postgres.adapter()),
        AgeSealer((str(key.to_public()),)),
        lambda key: None,
        lambda digests: {},
    )
    manifest = snapshot_of([source], store, tmp_path / "scratch")
    stored = b"".join(b"".join(store.stream(LAYOUT.blob(digest))) for digest, _ in manifest.blobs())
    assert b"PGDMP" not in stored
    assert stored.count(b"age-encryption.org/v1") == 2
    lose_rows(postgres, database)
    opened = EncryptedTarget(target, AgeOpener(lambda: [str(key)]))
    put_back(manifest, opened, store, tmp_path)  # type: ignore[arg-type]
    assert rows(postgres, database) == 2000
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"PGDMP" in path.read_bytes()]
