"""Scaling, as Dagster sees it: readings from a real page, the sensor's own ticks, the job that carries it out."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import dagster as dg
import pytest

from ops_pipelines.defs.build import build
from ops_pipelines.defs.scaling_sensor import scaling_sensor
from ops_pipelines.errors import Unreachable
from ops_pipelines.wiring import deployments, status
from ops_pipelines.wiring.site import Fleet
from tests.defs.kit import failure_of, fleet_of, small
from tests.servers.seaweed import Seaweed

SCALING = """
scaling:
  worker:
    component: worker
    mode: {mode}
    minimum: 1
    maximum: 4
    cooldown: 60s
    source: {source}
    signals:
      queue: {{query: queue_length, target: 10}}
      gpu: {{query: gpu_load, target: 80}}
"""


class Page:
    """A metrics page whose numbers a test sets; None leaves a number out."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.numbers: dict[str, float | None] = {"queue_length": 10, "gpu_load": 80}

    def text(self) -> str:
        """The page."""
        return "".join(f"{name} {number}\n" for name, number in self.numbers.items() if number is not None)


@pytest.fixture
def page() -> Iterator[Page]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(made.text().encode())

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        made = Page(f"http://127.0.0.1:{server.server_port}/metrics")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield made
        server.shutdown()


@pytest.fixture
def replicas(monkeypatch: pytest.MonkeyPatch) -> dict[str, int | None]:
    """How many replicas run, as the supervisor would say."""
    count: dict[str, int | None] = {"worker": 1}
    _run(monkeypatch, lambda _site, component: count[component])
    return count


def _run(monkeypatch: pytest.MonkeyPatch, count: Callable[[Any, str], int | None]) -> None:
    def numbers(site: Any, component: str) -> tuple[int, ...] | None:
        found = count(site, component)
        return None if found is None else tuple(range(found))

    monkeypatch.setattr(status, "replica_numbers", numbers)
    monkeypatch.setattr(deployments, "replicas", count)


def _fleet(folder: Path, page: Page, mode: str, **facts: str) -> Fleet:
    text = small("chat", more=SCALING.format(mode=mode, source=page.url), **facts)
    return fleet_of(folder, {"chat": text})


def _tick(fleet: Fleet, cursor: str | None = None) -> Any:
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_sensor_context(instance, cursor=cursor) as context,
    ):
        return scaling_sensor(fleet).evaluate_tick(context)


def _check(tick: Any) -> dg.AssetCheckEvaluation:
    [found] = [event for event in tick.asset_events if isinstance(event, dg.AssetCheckEvaluation)]
    return found


def test_only_another_state_is_said(tmp_path: Path, page: Page, replicas: dict[str, int | None]) -> None:
    fleet = _fleet(tmp_path, page, "observe")
    first = _tick(fleet)
    assert len(first.asset_events) == 2, "the decision and its check"
    page.numbers["queue_length"] = 10.5  # moves, and asks for nothing else
    second = _tick(fleet, first.cursor)
    assert second.asset_events == []
    page.numbers["queue_length"] = 40
    third = _tick(fleet, second.cursor)
    assert "1 -> 2" in (third.asset_events[0].description or "")
    assert _tick(fleet, third.cursor).asset_events == []


def test_the_same_state_is_said_again_after_a_while(
    tmp_path: Path, page: Page, replicas: dict[str, int | None]
) -> None:
    fleet = _fleet(tmp_path, page, "observe")
    cursor = json.loads(_tick(fleet).cursor)
    cursor["chat/worker"]["at"] = (datetime.now(UTC) - timedelta(minutes=16)).isoformat()
    assert len(_tick(fleet, json.dumps(cursor)).asset_events) == 2


def test_every_reading_is_shown_and_unknown_is_unknown(
    tmp_path: Path, page: Page, replicas: dict[str, int | None]
) -> None:
    page.numbers["gpu_load"] = None
    tick = _tick(_fleet(tmp_path, page, "observe"))
    rows = [dict(record.data) for record in tick.asset_events[0].metadata["signals"].records]
    assert [(row["signal"], row["value"], row["asks for"]) for row in rows] == [
        ("queue", "10", "1"),
        ("gpu", "unknown", "-"),
    ]
    assert _check(tick).passed, "one of two was read, and it holds"


def test_no_reading_at_all_does_not_pass(tmp_path: Path, page: Page, replicas: dict[str, int | None]) -> None:
    page.numbers = {}
    check = _check(_tick(_fleet(tmp_path, page, "observe")))
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)


def test_an_unknown_number_of_replicas_is_said(
    tmp_path: Path, page: Page, replicas: dict[str, int | None]
) -> None:
    replicas["worker"] = None
    fleet = _fleet(tmp_path, page, "auto")
    tick = _tick(fleet)
    assert not _check(tick).passed
    assert "unknown" in (_check(tick).description or "")
    assert not tick.run_requests
    assert _tick(fleet, tick.cursor).asset_events == []


def test_a_fault_in_one_rule_stops_no_other(
    tmp_path: Path, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count(site: Any, _component: str) -> int:
        if site.name == "odd":
            raise Unreachable("the supervisor does not answer", remedy="")
        if site.name == "worse":
            raise KeyError("a fault of ours")
        return 1

    _run(monkeypatch, count)
    more = SCALING.format(mode="observe", source=page.url)
    fleet = fleet_of(tmp_path, {name: small(name, more=more) for name in ("chat", "odd", "worse")})
    tick = _tick(fleet)
    passed = {
        event.asset_key.path[0]: event.passed
        for event in tick.asset_events
        if isinstance(event, dg.AssetCheckEvaluation)
    }
    assert passed == {"chat": True, "odd": False, "worse": False}


def test_auto_asks_once(tmp_path: Path, page: Page, replicas: dict[str, int | None]) -> None:
    page.numbers["queue_length"] = 40
    fleet = _fleet(tmp_path, page, "auto")
    tick = _tick(fleet)
    [request] = tick.run_requests
    config = request.run_config["ops"]["carry_out_decision"]["config"]
    assert (config["stack"], config["scaling"], config["current"], config["wanted"]) == (
        "chat",
        "worker",
        1,
        2,
    )
    assert _check(tick).passed, "nobody has to approve it"
    assert _tick(fleet, tick.cursor).run_requests == []


@pytest.mark.parametrize("mode", ["observe", "approve"])
def test_other_modes_never_ask(
    tmp_path: Path, page: Page, replicas: dict[str, int | None], mode: str
) -> None:
    page.numbers["queue_length"] = 40
    tick = _tick(_fleet(tmp_path, page, mode))
    assert not tick.run_requests
    assert _check(tick).passed == (mode == "observe")


def test_approval_is_a_link_to_the_filled_launchpad(
    tmp_path: Path, page: Page, replicas: dict[str, int | None]
) -> None:
    page.numbers["queue_length"] = 40
    check = _check(_tick(_fleet(tmp_path, page, "approve")))
    assert "waits for approval: 1 -> 2 replicas" in (check.description or "")
    url = urlsplit(str(check.metadata["approve"].value))
    assert url.path == "/locations/ops_pipelines/jobs/apply_scaling/playground/setup"
    config = json.loads(parse_qs(url.query)["config"][0])
    job = build(_fleet(tmp_path, page, "approve")).get_repository_def().get_job("apply_scaling")
    assert dg.validate_run_config(job, config)


@pytest.mark.parametrize(
    ("current", "age", "words"),
    [(1, 0, ""), (3, 0, "was made for 3 replicas; there are 1 now"), (1, 3600, "it was good for")],
)
def test_only_a_fresh_decision_is_carried_out(
    tmp_path: Path, page: Page, replicas: dict[str, int | None], monkeypatch: pytest.MonkeyPatch,
    seaweed: Seaweed, bucket: str, current: int, age: float, words: str,
) -> None:  # fmt: skip
    scaled: list[tuple[str, int]] = []
    monkeypatch.setattr(
        deployments, "scale_held", lambda _site, component, count, _fence: scaled.append((component, count))
    )
    text = small(
        "chat", bucket=bucket, endpoint=seaweed.endpoint, more=SCALING.format(mode="approve", source=page.url)
    )
    fleet = fleet_of(
        tmp_path, {"chat": text}, {"S3_KEY": seaweed.access_key, "S3_SECRET": seaweed.secret_key}
    )
    decided = (datetime.now(UTC) - timedelta(seconds=age)).isoformat()
    config = {"stack": "chat", "scaling": "worker", "current": current, "wanted": 2, "decided": decided}
    job = build(fleet).get_repository_def().get_job("apply_scaling")
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(
            {"ops": {"carry_out_decision": {"config": config}}}, instance=instance, raise_on_error=False
        )
    assert scaled == ([] if words else [("worker", 2)])
    assert result.success == (not words)
    assert words in failure_of(result)
