"""A failed run is told: to the log, and to whoever listens at the stack's URL, which is a secret."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ops_pipelines.defs.failing import failure_sensor, stacks_of
from ops_pipelines.wiring.site import Fleet
from tests.defs.kit import fleet_of, run_things, small

TOKEN = "very-secret-token"


@pytest.fixture
def listener() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A URL of Apprise's, and what arrives there."""
    taken: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken.append({"path": self.path, **json.loads(body)})
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"json://127.0.0.1:{server.server_port}/{TOKEN}", taken
        server.shutdown()


def _tell(fleet: Fleet, run: dg.ExecuteInProcessResult, instance: dg.DagsterInstance) -> None:
    event = next(one for one in reversed(run.all_events) if one.event_type_value == "PIPELINE_FAILURE")
    context = dg.build_run_status_sensor_context(
        sensor_name="fleet_failures",
        dagster_event=event,
        dagster_instance=instance,
        dagster_run=run.dagster_run,
    ).for_run_failure()
    failure_sensor(fleet)(context)


@pytest.mark.parametrize("url", ["taken", "nobody there", "not a url", "absent"])
def test_a_failed_run_is_told_and_the_url_is_not(
    tmp_path: Path,
    listener: tuple[str, list[dict[str, Any]]],
    capfd: pytest.CaptureFixture[str],
    url: str,
) -> None:
    address, taken = listener
    pager = {
        "taken": address,
        "nobody there": f"json://127.0.0.1:9/{TOKEN}",
        "not a url": TOKEN,
        "absent": "",
    }[url]
    fleet = fleet_of(tmp_path, {"chat": small("chat")}, {"PAGER": pager})
    with dg.DagsterInstance.ephemeral() as instance:
        tags = {"ops-pipelines/stack": "chat"}
        run = run_things(fleet, "chat", ["restore"], instance=instance, tags=tags)  # no snapshot was chosen
        assert not run.success
        _tell(fleet, run, instance)
    said = "".join(capfd.readouterr())
    assert "no snapshot of chat was chosen" in said
    assert TOKEN not in said
    assert ("notice.not_sent" in said) == (url != "taken")
    if url == "taken":
        [message] = taken
        assert message["path"] == f"/{TOKEN}"
        assert message["title"] == f"chat: run {run.dagster_run.run_id[:8]} failed"
        assert "no snapshot of chat was chosen" in message["message"]


def test_stacks_of_a_run_are_those_of_its_assets_its_checks_and_its_tag() -> None:
    run = dg.DagsterRun(
        job_name="__ASSET_JOB",
        asset_selection=frozenset({dg.AssetKey(["one", "snapshot"])}),
        asset_check_selection=frozenset({dg.AssetCheckKey(dg.AssetKey(["two", "deployment"]), "healthy")}),
        tags={"ops-pipelines/stack": "three"},
    )
    assert stacks_of(run) == ["one", "three", "two"]


def test_jobs_of_others_are_logged_all_the_same(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    @dg.op
    def breaks() -> None:
        raise ValueError("broken by intent")

    @dg.job
    def other() -> None:
        breaks()

    with dg.DagsterInstance.ephemeral() as instance:
        run = other.execute_in_process(instance=instance, raise_on_error=False)
        _tell(fleet_of(tmp_path, {}), run, instance)
    assert "broken by intent" in "".join(capfd.readouterr())
