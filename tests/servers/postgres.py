"""A real PostgreSQL on a free port of 127.0.0.1, for the session. It refuses root, so it runs as another user."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.parts import require
from tests.servers._child import die_with_parent
from tests.waiting import free_port, until


@dataclass(frozen=True)
class PostgresServer:
    """Where a running PostgreSQL answers, and with which credentials."""

    host: str
    port: int
    user: str
    password: str
    programs: Path
    """Folder of its programs."""
    socket_folder: Path
    log: Path

    def adapter(self, **changes: Any) -> Any:
        """Our adapter on it; `changes` replace its arguments."""
        from ops_pipelines.adapters.postgres import Postgres

        words: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "environ": {"PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}"},
        }
        return Postgres(**(words | changes))

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """A plain connection, to look past our own code."""
        return psycopg.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            dbname=database,
            autocommit=True,
        )


def _owner() -> str | None:
    """The user to run it as: none where this is not root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL for the session, empty but for what tests make in it."""
    programs = require("postgres").path.parent
    owner = _owner()
    # Not below pytest's folder: that one is closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="ops-postgres-"))
    folder.chmod(0o755)
    data, sockets, password_file, log = (folder / name for name in ("data", "sockets", "password", "log"))
    password = secrets.token_hex(12)
    password_file.write_text(password)
    for path in (data, sockets):
        path.mkdir()
    log.touch()
    if owner is not None:
        for path in (data, sockets, password_file, log):
            shutil.chown(path, owner)
    as_owner: dict[str, Any] = {
        "user": owner, "cwd": data, "stdin": subprocess.DEVNULL, "env": {"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
    }  # fmt: skip
    init: list[Any] = [
        programs / "initdb", "-D", data, "-U", "admin", f"--pwfile={password_file}",
        "--auth=scram-sha-256", "--encoding=UTF8", "--no-sync", "--no-instructions",
    ]  # fmt: skip
    subprocess.run(init, check=True, stdout=subprocess.DEVNULL, **as_owner)
    port = free_port()
    flags = [f"port={port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={sockets}", "fsync=off",
             "max_connections=40", "shared_buffers=32MB"]  # fmt: skip
    command: list[Any] = [programs / "postgres", "-D", data]
    for flag in flags:
        command += ["-c", flag]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - it takes no lock
            **as_owner,
        )
    server = PostgresServer("127.0.0.1", port, "admin", password, programs, sockets, log)

    def answers() -> bool:
        if process.poll() is not None:
            raise AssertionError(f"postgres ended: {log.read_text()[-2000:]}")
        with contextlib.suppress(psycopg.OperationalError):
            server.connect().close()
            return True
        return False

    try:
        until(answers, what="PostgreSQL")
        yield server
    finally:
        process.send_signal(signal.SIGINT)  # fast shutdown
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_database(postgres: PostgresServer) -> Iterator[str]:
    """Name of a fresh database; it and what was made beside it go at the end."""
    name = f"test_{secrets.token_hex(4)}"
    with postgres.connect() as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield name
    with postgres.connect() as connection:
        found = connection.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [name])
        for (database,) in found.fetchall():
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database)))
