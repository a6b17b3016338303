"""A real Redis on a free port of 127.0.0.1, with a password, for the session."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis as client_library

from tests.parts import require
from tests.servers._child import die_with_parent
from tests.waiting import free_port, until

if TYPE_CHECKING:
    from ops_pipelines.adapters.redis import Redis


@dataclass(frozen=True)
class RedisServer:
    """Where a running Redis answers."""

    port: int
    password: str
    host: str = "127.0.0.1"
    tls_port: int = 0
    authority: Path | None = None
    """File of the authority of its own that proves `tls_port`."""

    def adapter(self, **changes: Any) -> Redis:
        """Our adapter on it; `changes` replace its arguments."""
        from ops_pipelines.adapters.redis import Redis

        words: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "user": None,
            "password": self.password,
        }
        return Redis(**(words | changes))

    def client(self, number: int = 0) -> client_library.Redis:
        """A plain client, to look past our own code."""
        return client_library.Redis(
            host=self.host, port=self.port, password=self.password, db=number, protocol=2
        )


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own authority, and its key."""
    certificate, key = folder / "ca.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", "/CN=a test", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


@pytest.fixture(scope="session")
def redis_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis for the session."""
    program = require("redis").path
    folder: Path = tmp_path_factory.mktemp("redis")
    authority, key = _certificate(folder)
    server = RedisServer(free_port(), secrets.token_hex(12), tls_port=free_port(), authority=authority)
    options = {
        "port": server.port, "bind": "127.0.0.1", "dir": folder, "requirepass": server.password, "appendonly": "no",
        "repl-diskless-sync-delay": 0, "save": "", "logfile": folder / "log", "databases": 8,
        "enable-debug-command": "local", "tls-port": server.tls_port, "tls-cert-file": authority,
        "tls-key-file": key, "tls-ca-cert-file": authority, "tls-auth-clients": "no",
    }  # fmt: skip
    command: list[str] = [str(program)]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=die_with_parent)  # noqa: PLW1509

    def answers() -> bool:
        if process.poll() is not None:
            raise AssertionError(f"redis ended: {(folder / 'log').read_text()[-2000:]}")
        try:
            return bool(server.client().ping())
        except client_library.ConnectionError:
            return False

    try:
        until(answers, what="Redis")
        yield server
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def redis_server(redis_process: RedisServer) -> Iterator[RedisServer]:
    """The same, empty."""
    client = redis_process.client()
    client.flushall()
    client.function_flush()
    yield redis_process
    client.config_set("maxmemory", 0)
