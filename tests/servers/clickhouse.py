"""ClickHouse as chdb has it, its engine in a process of its own, behind a small HTTP shim."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.servers._child import die_with_parent
from tests.servers.seaweed import Seaweed
from tests.waiting import free_port, until

if TYPE_CHECKING:
    from ops_pipelines.adapters.clickhouse import ClickHouse

USER, PASSWORD = "ops", "its-password"


@dataclass(frozen=True)
class ClickHouseServer:
    """Where the engine answers."""

    address: str

    def adapter(self, seaweed: Seaweed, bucket: str, **changes: Any) -> ClickHouse:
        """Our adapter on it, with a bucket for the handover; `changes` replace its arguments."""
        from ops_pipelines.adapters.clickhouse import ClickHouse, Handover

        place = Handover(f"{seaweed.endpoint}/{bucket}", seaweed.access_key, seaweed.secret_key)
        words: dict[str, Any] = {
            "address": self.address,
            "user": USER,
            "password": PASSWORD,
            "handover": place,
        }
        return ClickHouse(**(words | changes))

    def ask(self, query: str, *, database: str = "default") -> list[Any]:
        """Rows, to look past our own code."""
        answer = httpx.post(
            self.address, content=query, params={"default_format": "JSONCompactEachRow", "database": database},
            headers={"X-ClickHouse-User": USER, "X-ClickHouse-Key": PASSWORD}, timeout=60,
        )  # fmt: skip
        assert answer.is_success, answer.text
        return [json.loads(line) for line in answer.text.splitlines()]


@pytest.fixture(scope="session")
def clickhouse_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseServer]:
    """One for the session."""
    pytest.importorskip("chdb")
    folder, port = tmp_path_factory.mktemp("clickhouse"), free_port()
    script = Path(__file__).with_name("_clickhouse_shim.py")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, script, folder / "data", str(port), USER, PASSWORD],
            stdout=log, stderr=log, preexec_fn=die_with_parent,  # noqa: PLW1509 - it takes no lock
        )  # fmt: skip
    server = ClickHouseServer(f"http://127.0.0.1:{port}")

    def answers() -> bool:
        assert process.poll() is None, (folder / "log").read_text()[-2000:]
        try:
            return server.ask("SELECT 1") != []
        except httpx.TransportError:
            return False

    try:
        until(answers, what="ClickHouse's engine")
        yield server
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def clickhouse(clickhouse_process: ClickHouseServer) -> Iterator[ClickHouseServer]:
    """The same; databases that a test made go at its end."""
    yield clickhouse_process
    for (name,) in clickhouse_process.ask("SELECT name FROM system.databases WHERE name LIKE 'traces%'"):
        clickhouse_process.ask(f"DROP DATABASE `{name}` SYNC SETTINGS check_table_dependencies = 0")
