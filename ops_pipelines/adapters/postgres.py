"""One PostgreSQL server: dumps that are of one moment, restores beside, and a switch in one transaction.

pg_dump reads in the very snapshot in which the rows were counted, so that the counts are the dump's own.
Passwords go to the programs by their environment, never as an argument, and no dump holds any.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import IsolationLevel
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from ops_pipelines.adapters._postgres_errors import explained
from ops_pipelines.adapters._postgres_state import (
    create_statement,
    membership_statements,
    property_statements,
    read_state,
    role_statements,
)
from ops_pipelines.adapters._process import find_program, run
from ops_pipelines.errors import CommandFailed, OpsError, Refused
from ops_pipelines.policy.databases import DatabaseState
from ops_pipelines.policy.probes import Rows

NO_PROBES: Mapping[str, str] = {}
_GET = "install the PostgreSQL client programs (Debian: apt-get install postgresql-client)"
_VERSION = re.compile(r"\(PostgreSQL\)\s+(\d+)")


def _unheard(rows: int) -> None:
    """Where counts go that nobody asked for."""


def _answer(connection: psycopg.Connection[Any], query: str) -> Rows:
    connection.execute("SET LOCAL statement_timeout = '5min'")
    rows = connection.execute(query.encode()).fetchall()
    connection.execute("SET LOCAL statement_timeout = 0")
    return rows


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL server and the role by which it is used."""

    host: str
    """Name, address, or folder of a Unix socket."""
    port: int
    user: str
    password: str | None = field(repr=False)
    environ: Mapping[str, str] = field(repr=False)
    """Environment of the programs; its PATH is where they are looked for."""
    maintenance: str = "postgres"
    """Database that is connected to where none is named."""
    sslmode: str = "prefer"
    timeout: float = 6 * 3600.0
    """Seconds that one dump or restore may take."""

    @property
    def at(self) -> str:
        """How a person names it."""
        return f"PostgreSQL at {self.host}:{self.port}"

    def major(self) -> int:
        """Major version of the server."""
        with self._session(self.maintenance, "ask the version") as connection:
            return connection.info.server_version // 10000

    def databases(self) -> tuple[str, ...]:
        """Names of all databases."""
        with self._session(self.maintenance, "list databases") as connection:
            found = connection.execute("SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY 1")
            return tuple(name for (name,) in found.fetchall())

    def roles(self) -> tuple[str, ...]:
        """Names of all roles."""
        with self._session(self.maintenance, "list roles") as connection:
            return tuple(name for (name,) in connection.execute("SELECT rolname FROM pg_roles").fetchall())

    def state(self, database: str, counted: Callable[[int], None] = _unheard) -> DatabaseState:
        """A database as it is now, all its rows counted."""
        with self._session(database, "count rows") as connection, self._moment(connection):
            return read_state(connection, counted)

    def ask(self, database: str, query: str) -> Rows:
        """Rows that a question brings; it can change nothing, and may take five minutes."""
        with self._session(database, "answer a probe") as connection, self._moment(connection):
            return _answer(connection, query)

    def dump(
        self,
        database: str,
        dump: Path,
        roles: Path,
        counted: Callable[[int], None] = _unheard,
        probes: Mapping[str, str] = NO_PROBES,
    ) -> tuple[DatabaseState, dict[str, Rows]]:
        """Write a database's content (custom format) and the server's roles; return its state and what it answers.

        Content, counts and answers are of one moment; the dump is read back to its end. Raises CommandFailed, Refused,
        Unreachable, or CommandMissing; what was written is then worth nothing."""
        client = self._client("pg_dump")
        with self._session(database, "dump") as connection, self._moment(connection):
            server = connection.info.server_version // 10000
            if client < server:
                raise CommandFailed(
                    f"pg_dump {client} cannot read {self.at}, which is version {server}",
                    remedy=f"install the PostgreSQL {server} client programs, or put them first on PATH",
                )
            row = connection.execute("SELECT pg_export_snapshot()").fetchone()
            moment = str(row[0]) if row else ""
            state = read_state(connection, counted)
            answers = {name: _answer(connection, query) for name, query in probes.items()}
            self._run("pg_dump", "--format=custom", "--no-password", f"--snapshot={moment}",
                      "--lock-wait-timeout=120000", f"--file={dump}", database=database)  # fmt: skip
        self._run("pg_dumpall", "--roles-only", "--no-role-passwords", "--no-password",
                  f"--file={roles}", f"--database={self._conninfo(database)}", database=database)  # fmt: skip
        self._run("pg_restore", "--list", "--file=/dev/null", str(dump))
        return state, answers

    def create_roles(self, roles_dump: str, wanted: tuple[str, ...]) -> tuple[str, ...]:
        """Make those of the wanted roles that are not there, without passwords, members of the groups that are
        there; return their names."""
        missing = [role for role in wanted if role not in self.roles()]
        with self._session(self.maintenance, "create roles") as connection:
            for role in missing:
                lines = role_statements(roles_dump, role)
                if not lines:
                    raise Refused(
                        f"{self.at} has no role {role!r}, and the snapshot does not say how to make it",
                        remedy=f"create the role {role!r} and restore again",
                    )
                with connection.transaction():
                    for line in lines:
                        connection.execute(line.encode())
            present = self.roles()
            for line in membership_statements(roles_dump, missing, present):
                connection.execute(line.encode())
        return tuple(missing)

    def restore(self, database: str, dump: Path, like: DatabaseState) -> None:
        """Make a database with the properties of `like` and fill it from a dump. It must not exist."""
        name = Identifier(database)
        with self._session(self.maintenance, f"create the database {database}") as connection:
            connection.execute(create_statement(database, like))
        try:
            self._run("pg_restore", "--exit-on-error", "--no-password",
                      f"--dbname={self._conninfo(database)}", str(dump), database=database)  # fmt: skip
            with self._session(database, f"finish the database {database}") as connection:
                for statement in property_statements(database, like):
                    connection.execute(statement)
                connection.execute("ANALYZE")
        except BaseException:
            with suppress(OpsError), self._session(self.maintenance, "drop") as connection:
                connection.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
            raise

    def drop(self, database: str) -> None:
        """Drop a database and whoever is connected to it; one that is not there is nothing."""
        with self._session(self.maintenance, f"drop the database {database}") as connection:
            connection.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(database)))

    def weigh(self, database: str) -> int | None:
        """Bytes of a database on the server's disk."""
        with self._session(self.maintenance, f"weigh {database}") as connection:
            row = connection.execute("SELECT pg_database_size(%s)", [database]).fetchone()
            return int(row[0]) if row and row[0] is not None else None

    def drop_unused(self, database: str) -> None:
        """Drop a database to which nobody is connected. Raises Refused where somebody is."""
        with self._session(self.maintenance, f"drop the database {database}") as connection:
            connection.execute(SQL("DROP DATABASE {}").format(Identifier(database)))

    def swap(self, live: str, place: str, before: str) -> None:
        """Rename `live` (where it is) to `before` and `place` to `live`, in one transaction.

        The renames lock the databases, so that new clients wait; those that are connected are ended meanwhile."""
        present = self.databases()
        over = threading.Event()
        kicker = threading.Thread(
            target=self._kick, args=((live, place), over), name="postgres-kick", daemon=True
        )
        kicker.start()
        try:
            with self._session(self.maintenance, f"switch {live}") as connection, connection.transaction():
                rename = SQL("ALTER DATABASE {} RENAME TO {}")
                if live in present:
                    connection.execute(rename.format(Identifier(live), Identifier(before)))
                connection.execute(rename.format(Identifier(place), Identifier(live)))
        finally:
            over.set()
            kicker.join()

    def _kick(self, databases: tuple[str, ...], over: threading.Event) -> None:
        """End the connections to databases until told that it is over. What it may not end, the switch names."""
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ANY(%s)"
        with suppress(OpsError), self._session(self.maintenance, "end connections") as connection:
            while not over.is_set():
                connection.execute(query, [list(databases)])
                over.wait(0.1)

    # --- connections and programs ---

    @contextmanager
    def _session(self, database: str, doing: str) -> Iterator[psycopg.Connection[Any]]:
        """A connection that commits each statement, its errors put in words."""
        try:
            with psycopg.connect(
                host=self.host,
                port=self.port,
                user=self.user,
                password=self.password,
                dbname=database,
                sslmode=self.sslmode,
                connect_timeout=10,
                application_name="ops-pipelines",
                autocommit=True,
            ) as connection:
                connection.execute("SELECT set_config('statement_timeout', '0', false)")
                yield connection
        except psycopg.Error as error:
            raise explained(error, self.at, self.user, doing) from error

    @contextmanager
    def _moment(self, connection: psycopg.Connection[Any]) -> Iterator[None]:
        """A transaction that sees one moment, and all rows of it or an error."""
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        with connection.transaction():
            connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            connection.execute("SET LOCAL row_security = off")
            yield

    def _conninfo(self, database: str) -> str:
        return make_conninfo(dbname=database)

    def _client(self, program: str) -> int:
        """Major version of a client program."""
        path = find_program(program, environ=self.environ, remedy=_GET)
        output = run([path, "--version"], timeout=30, remedy=_GET, environ=self._environment(None)).stdout
        found = _VERSION.search(output.decode("utf-8", "replace"))
        if found is None:
            raise CommandFailed(
                f"{path} does not say its version", remedy=_GET, output=output.decode("utf-8", "replace")
            )
        return int(found[1])

    def _run(self, program: str, *arguments: str, database: str | None = None) -> None:
        path = find_program(program, environ=self.environ, remedy=_GET)
        run(
            [path, *arguments],
            timeout=self.timeout,
            remedy=f"read what {program} says of {self.at} and mend that; then try again",
            environ=self._environment(database),
            secrets=[self.password] if self.password else [],
        )

    def _environment(self, database: str | None) -> dict[str, str]:
        """Environment of a program: nothing of libpq's but what this server needs."""
        kept = {name: value for name, value in self.environ.items() if not name.startswith("PG")}
        own = {"PGHOST": self.host, "PGPORT": str(self.port), "PGUSER": self.user, "PGSSLMODE": self.sslmode,
               "PGCONNECT_TIMEOUT": "10", "PGPASSFILE": os.devnull, "LC_MESSAGES": "C"}  # fmt: skip
        if self.password is not None:
            own["PGPASSWORD"] = self.password
        if database is not None:
            own["PGDATABASE"] = database
        return {**kept, **own}
