"""Our PostgreSQL adapter against a real server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from ops_pipelines.adapters._postgres_state import role_statements
from ops_pipelines.errors import CommandFailed, CommandMissing, OpsError, Refused, Unreachable
from ops_pipelines.policy.databases import Grant, Setting, differences
from tests.servers.postgres import PostgresServer
from tests.waiting import free_port, until

AWKWARD = 'odd "name"; -- é'
SCHEMA = """
CREATE EXTENSION pg_trgm;
CREATE TABLE users (id int PRIMARY KEY, name text);
CREATE TABLE "odd ""name""; -- é" (id int);
CREATE SCHEMA other;
CREATE TABLE other.events (at timestamptz, body jsonb) PARTITION BY RANGE (at);
CREATE TABLE other.events_new PARTITION OF other.events FOR VALUES FROM ('2026-01-01') TO ('2030-01-01');
CREATE TABLE empty ();
CREATE MATERIALIZED VIEW names AS SELECT name FROM users;
INSERT INTO users SELECT n, 'user ' || n FROM generate_series(1, 1000) n;
INSERT INTO other.events SELECT '2026-06-01', '{}' FROM generate_series(1, 50);
INSERT INTO "odd ""name""; -- é" VALUES (1);
"""
COUNTS = {"public.users": 1000, f"public.{AWKWARD}": 1, "other.events_new": 50, "public.empty": 0}


@pytest.fixture
def filled(postgres: PostgresServer, postgres_database: str) -> str:
    with postgres.connect(postgres_database) as connection:
        connection.execute(SCHEMA.encode())
    return postgres_database


@pytest.fixture
def role(postgres: PostgresServer, filled: str) -> Iterator[str]:
    """A role that owns a table and has a right on the database; it goes at the end."""
    name = f"{filled}-owner"
    with postgres.connect(filled) as connection:
        for statement in (
            "CREATE ROLE {role} LOGIN PASSWORD 'hidden-password' CONNECTION LIMIT 7",
            "ALTER TABLE users OWNER TO {role}",
            "GRANT CREATE ON DATABASE {database} TO {role}",
            "ALTER DATABASE {database} SET search_path TO other, public",
            "ALTER DATABASE {database} SET work_mem TO '8MB'",
            "ALTER ROLE {role} IN DATABASE {database} SET lock_timeout TO '9s'",
        ):
            connection.execute(SQL(statement).format(role=Identifier(name), database=Identifier(filled)))
    yield name
    with postgres.connect() as connection:
        found = connection.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [filled])
        for (database,) in found.fetchall():
            connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(database)))
        connection.execute(SQL("DROP ROLE IF EXISTS {}").format(Identifier(name)))


def test_every_table_is_counted(postgres: PostgresServer, filled: str) -> None:
    state = postgres.adapter().state(filled)
    assert dict(state.tables) == COUNTS
    assert set(state.extensions) == {"plpgsql", "pg_trgm"}
    assert (state.rows, state.encoding, state.owner) == (1051, "UTF8", "admin")
    assert state.major == postgres.adapter().major()


def test_a_socket_folder_is_a_host(postgres: PostgresServer, filled: str) -> None:
    assert postgres.adapter(host=str(postgres.socket_folder)).state(filled).rows == 1051


def test_a_dump_makes_the_same_database(
    postgres: PostgresServer, filled: str, role: str, tmp_path: Path
) -> None:
    adapter = postgres.adapter()
    state, _ = adapter.dump(filled, tmp_path / "dump", tmp_path / "roles")
    with postgres.connect() as connection:
        # Role and database are gone: the server is a new one as far as they go.
        connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(filled)))
        connection.execute(SQL("DROP ROLE {}").format(Identifier(role)))
    roles = (tmp_path / "roles").read_text()
    assert adapter.create_roles(roles, state.roles) == (role,)
    adapter.restore(f"{filled}_new", tmp_path / "dump", state)
    found = adapter.state(f"{filled}_new")
    assert differences(state, found) == ()
    assert found.settings == state.settings
    assert Setting("search_path", "other, public") in found.settings
    assert Setting("lock_timeout", "9s", role) in found.settings
    assert found.grants is not None
    assert Grant(role, "CREATE") in found.grants
    with postgres.connect(f"{filled}_new") as connection:
        owner = connection.execute("SELECT tableowner FROM pg_tables WHERE tablename = 'users'").fetchone()
        limit = connection.execute(
            "SELECT rolconnlimit, rolpassword FROM pg_authid WHERE rolname = %s", [role]
        )
        assert owner == (role,)
        assert limit.fetchone() == (7, None)
    assert b"hidden-password" not in (tmp_path / "dump").read_bytes() + roles.encode()
    assert "SCRAM" not in roles


def test_counts_are_of_the_moment_of_the_dump(postgres: PostgresServer, filled: str, tmp_path: Path) -> None:
    """Rows that come and go while it dumps are in both, or in neither."""
    over = threading.Event()

    def write() -> None:
        with postgres.connect(filled) as connection:
            number = 10_000
            while not over.is_set():
                connection.execute("INSERT INTO users VALUES (%s, 'late')", [number])
                connection.execute(
                    "DELETE FROM other.events WHERE ctid = (SELECT min(ctid) FROM other.events)"
                )
                number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with postgres.connect(filled) as connection:
            until(
                lambda: connection.execute("SELECT count(*) FROM users").fetchone() != (1000,),
                what="a late row",
            )
        adapter = postgres.adapter()
        state, _ = adapter.dump(filled, tmp_path / "dump", tmp_path / "roles")
        during = adapter.state(filled)
    finally:
        over.set()
        writer.join()
    assert during.tables["public.users"] > state.tables["public.users"] > 1000
    adapter.restore(f"{filled}_new", tmp_path / "dump", state)
    assert differences(state, adapter.state(f"{filled}_new")) == ()


def test_a_switch_while_clients_come_and_stay(postgres: PostgresServer, filled: str) -> None:
    """Pools that reconnect at once neither stop the switch nor ever see a missing database for long."""
    new, before = f"{filled}__restore_x", f"{filled}__before_x"
    with postgres.connect() as connection:
        connection.execute(SQL("CREATE DATABASE {} TEMPLATE template0").format(Identifier(new)))
    with postgres.connect(new) as connection:
        connection.execute("CREATE TABLE is_new ()")
    over = threading.Event()
    answers: list[bool] = []

    def client() -> None:
        while not over.is_set():
            try:
                with postgres.connect(filled) as connection:
                    while not over.is_set():
                        found = connection.execute("SELECT to_regclass('is_new') IS NOT NULL").fetchone()
                        answers.append(bool(found and found[0]))
            except psycopg.OperationalError:
                continue

    clients = [threading.Thread(target=client) for _ in range(3)]
    for thread in clients:
        thread.start()
    try:
        until(lambda: len(answers) > 20, what="clients at work")
        postgres.adapter().swap(filled, new, before)
        done = len(answers)
        until(lambda: len(answers) > done + 20 and answers[-1], what="clients in the new database")
    finally:
        over.set()
        for thread in clients:
            thread.join()
    assert {filled, before} <= set(postgres.adapter().databases())
    assert new not in postgres.adapter().databases()


def test_a_switch_that_fails_changes_nothing(postgres: PostgresServer, filled: str) -> None:
    with pytest.raises(Refused, match="does not exist"):
        postgres.adapter().swap(filled, f"{filled}__restore_none", f"{filled}__before_none")
    assert filled in postgres.adapter().databases()
    assert postgres.adapter().state(filled).rows == 1051


def test_a_failed_restore_leaves_no_database(postgres: PostgresServer, filled: str, tmp_path: Path) -> None:
    adapter = postgres.adapter()
    state, _ = adapter.dump(filled, tmp_path / "dump", tmp_path / "roles")
    whole = (tmp_path / "dump").read_bytes()
    (tmp_path / "dump").write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(CommandFailed):
        adapter.restore(f"{filled}_new", tmp_path / "dump", state)
    assert f"{filled}_new" not in adapter.databases()


def test_a_role_that_nobody_can_make_is_named(postgres: PostgresServer) -> None:
    with pytest.raises(Refused, match="no role 'nobody-knows'"):
        postgres.adapter().create_roles("CREATE ROLE other;\n", ("nobody-knows",))


def test_lines_of_one_role_are_found_by_its_whole_name() -> None:
    dump = 'CREATE ROLE lite;\nALTER ROLE lite WITH LOGIN;\nCREATE ROLE "lite-llm";\nALTER ROLE litellm WITH LOGIN;\n'
    assert role_statements(dump, "lite") == ["CREATE ROLE lite;", "ALTER ROLE lite WITH LOGIN;"]
    assert role_statements(dump, "lite-llm") == ['CREATE ROLE "lite-llm";']


BAD = [
    ("another password", {"password": "wrong-and-secret"}, Refused, "does not let admin in"),
    ("no password", {"password": None}, Refused, "does not let admin in"),
    ("another user", {"user": "nobody"}, Refused, "does not let nobody in"),
    ("nobody at the port", {"port": free_port()}, Unreachable, "does not answer"),
]


@pytest.mark.parametrize(("changes", "kind", "words"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_what_is_wrong_is_said_and_no_password(
    postgres: PostgresServer, filled: str, changes: dict[str, object], kind: type[OpsError], words: str
) -> None:
    adapter = postgres.adapter(**changes)
    with pytest.raises(kind, match=words) as caught:
        adapter.state(filled)
    for text in (str(caught.value), repr(adapter)):
        assert "wrong-and-secret" not in text
        assert postgres.password not in text


def test_an_unknown_database_is_named(postgres: PostgresServer, tmp_path: Path) -> None:
    with pytest.raises(Refused, match='database "no_such" does not exist'):
        postgres.adapter().dump("no_such", tmp_path / "dump", tmp_path / "roles")


def test_programs_that_are_missing_or_too_old(postgres: PostgresServer, filled: str, tmp_path: Path) -> None:
    with pytest.raises(CommandMissing, match="pg_dump") as caught:
        postgres.adapter(environ={"PATH": str(tmp_path)}).dump(filled, tmp_path / "d", tmp_path / "r")
    assert "postgresql-client" in caught.value.remedy
    (tmp_path / "pg_dump").write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.24'\n")
    (tmp_path / "pg_dump").chmod(0o755)
    with pytest.raises(CommandFailed, match="pg_dump 9 cannot read"):
        postgres.adapter(environ={"PATH": f"{tmp_path}:/bin"}).dump(filled, tmp_path / "d", tmp_path / "r")


def test_the_password_is_no_argument(postgres: PostgresServer, filled: str, tmp_path: Path) -> None:
    """A program in pg_dump's place writes down what it was called with."""
    script = '#!/bin/sh\nif [ "$1" = --version ]; then echo "x (PostgreSQL) 99"; exit; fi\n'
    script += f'echo "$@" > {tmp_path}/argv; echo "my password is $PGPASSWORD" >&2; exit 1\n'
    (tmp_path / "pg_dump").write_text(script)
    (tmp_path / "pg_dump").chmod(0o755)
    with pytest.raises(CommandFailed) as caught:
        postgres.adapter(environ={"PATH": f"{tmp_path}:/bin", "PGOPTIONS": "-c x=y"}).dump(
            filled, tmp_path / "d", tmp_path / "r"
        )
    assert postgres.password not in (tmp_path / "argv").read_text()
    assert "my password is ***" in str(caught.value)


def test_large_objects_come_back(postgres: PostgresServer, filled: str, tmp_path: Path) -> None:
    adapter = postgres.adapter()
    with postgres.connect(filled) as connection:
        connection.execute("SELECT lo_from_bytea(4711, decode(repeat('ab', 5000), 'hex'))")
    state, _ = adapter.dump(filled, tmp_path / "dump", tmp_path / "roles")
    adapter.restore(f"{filled}_again", tmp_path / "dump", state)
    with postgres.connect(f"{filled}_again") as connection:
        found = connection.execute("SELECT encode(lo_get(4711), 'hex')").fetchone()
    assert found == ("ab" * 5000,)


def test_a_role_that_is_made_is_a_member_again(
    postgres: PostgresServer, filled: str, role: str, tmp_path: Path
) -> None:
    adapter = postgres.adapter()
    group = f"{filled}-group"
    with postgres.connect(filled) as connection:
        for statement in (
            "CREATE ROLE {group}",
            "GRANT {group} TO {role}",
            "ALTER ROLE {role} SET lock_timeout TO '3s'",
        ):
            connection.execute(SQL(statement).format(group=Identifier(group), role=Identifier(role)))
    try:
        adapter.dump(filled, tmp_path / "dump", tmp_path / "roles")
        with postgres.connect(filled) as connection:
            for statement in (
                "REASSIGN OWNED BY {role} TO admin",
                "DROP OWNED BY {role}",
                "DROP ROLE {role}",
            ):
                connection.execute(SQL(statement).format(role=Identifier(role)))
        made = adapter.create_roles((tmp_path / "roles").read_text(), (role,))
        assert made == (role,)
        with postgres.connect(filled) as connection:
            found = connection.execute(
                "SELECT pg_has_role(%s, %s, 'member'), rolconfig FROM pg_roles WHERE rolname = %s",
                [role, group, role],
            ).fetchone()
        assert found == (True, ["lock_timeout=3s"])
    finally:
        with postgres.connect(filled) as connection:
            connection.execute(SQL("DROP ROLE {}").format(Identifier(group)))
