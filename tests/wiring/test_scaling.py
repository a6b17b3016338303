"""Readings are of the replicas that run and of now; two who look do not take each other's memory away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from ops_pipelines.engines import scale as engine
from ops_pipelines.errors import LeaseHeld, StaleDecision, UsageError
from ops_pipelines.policy.machine import Card
from ops_pipelines.wiring import _scaling_memory, deployments, scaling, status
from ops_pipelines.wiring.connect import lease, now
from tests.serving import serve
from tests.wiring.stand import Stand, texts


@contextmanager
def histogram(total: int, count: int) -> Iterator[tuple[str, list[int]]]:
    """A page with a histogram that can be moved on."""
    seen = [total, count]

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = f"lat_sum {seen[0]}\nlat_count {seen[1]}\nqueue {seen[1]}\n".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None: ...

    with serve(Page) as url:
        yield f"{url}/metrics", seen


def running(monkeypatch: pytest.MonkeyPatch, *numbers: int) -> None:
    monkeypatch.setattr(status, "replica_numbers", lambda site, component: numbers)


LATENCY = {"latency": {"query": "mean(lat)", "target": 1}}


def test_who_explains_takes_nothing_from_the_sensor(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    running(monkeypatch, 0)
    with histogram(10, 10) as (url, page):
        site = stand.change(scaling=stand.scaling(source=url, signals=LATENCY))
        memory = site.state / "scaling" / "web.means.json"
        assert scaling.evaluate(site, "web")
        kept = memory.read_bytes()
        page[:] = [40, 20]
        explained = scaling.explain(site, "web")
        assert explained is not None
        assert explained.readings[0].value == 3.0, "the sensor's reading is the one before"
        assert memory.read_bytes() == kept
        page[:] = [50, 40]
        again = scaling.explain(site, "web")
        assert again is not None
        assert again.readings[0].value == 0.5, "and then its own, which is newer"
        decided = scaling.evaluate(site, "web")
        assert decided is not None
        assert decided.readings[0].value == pytest.approx(40 / 30)


def test_without_a_sensor_two_looks_make_a_mean(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    running(monkeypatch, 0)
    with histogram(10, 10) as (url, page):
        site = stand.change(scaling=stand.scaling(source=url, signals=LATENCY))
        first = scaling.explain(site, "web")
        page[:] = [30, 20]
        second = scaling.explain(site, "web")
    assert first is not None
    assert second is not None
    assert (first.readings[0].value, second.readings[0].value) == (None, 2.0)


def test_a_change_that_is_made_meanwhile_is_not_forgotten(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sensor reads for seconds; a run that scales in between starts a cooldown that must hold."""
    site, at = stand.change(scaling=stand.scaling()), now()
    running(monkeypatch, 0)
    explain = engine.explain

    def meanwhile(*words: Any, **more: Any) -> object:
        _scaling_memory.note_change(site, "web", at)
        return explain(*words, **more)

    monkeypatch.setattr(engine, "explain", meanwhile)
    scaling.evaluate(site, "web")
    assert _scaling_memory.changed(site, "web") == at


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"at": 7}', '{"at": "2026-01-01T00:00:00"}', '{"q": [1]}']
)
def test_a_damaged_memory_is_none(stand: Stand, content: str) -> None:
    folder = stand.site.state / "scaling"
    folder.mkdir(parents=True)
    for word in ("changed", "means"):
        (folder / f"web.{word}.json").write_text(content)
    assert _scaling_memory.changed(stand.site, "web") is None
    with _scaling_memory.means(stand.site, "web") as memory:
        assert memory == {}


@pytest.mark.parametrize("numbers", [(0,), (0, 2), (1, 2)])
def test_the_pages_are_those_of_the_replicas_that_run(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, numbers: tuple[int, ...]
) -> None:
    """Two are declared; scaling has made it three, and one of them has died."""
    web = stand.web(replicas=2, ports={"http": 9000, "admin": 9100}, shared_ports=["http"])
    source = "http://127.0.0.1:{port.admin}/metrics"
    site = stand.change(components={"web": web}, scaling=stand.scaling(source=source))
    asked: list[list[str]] = []
    monkeypatch.setattr(
        scaling,
        "MetricsPages",
        lambda urls, memory: asked.append(urls) or scaling.PrometheusServer("http://127.0.0.1:9"),
    )
    running(monkeypatch, *numbers)
    scaling.explain(site, "web")
    assert asked == [[f"http://127.0.0.1:{9100 + number}/metrics" for number in numbers]]
    assert scaling._pages(site, "web", "http://127.0.0.1:{port.http}/metrics", numbers) == [
        "http://127.0.0.1:9000/metrics"
    ], "a port that all share is one page"


@pytest.mark.parametrize(
    ("numbers", "minimum", "expected"),
    [((0,), 1, 1), ((), 1, None), ((), 0, 0), (None, 1, None), (None, 0, None)],
)
def test_nothing_is_decided_for_what_was_never_started(
    stand: Stand,
    monkeypatch: pytest.MonkeyPatch,
    numbers: tuple[int, ...] | None,
    minimum: int,
    expected: int | None,
) -> None:
    site = stand.change(scaling=stand.scaling(minimum=minimum))
    monkeypatch.setattr(status, "replica_numbers", lambda site, component: numbers)
    decision = scaling.evaluate(site, "web")
    assert (decision.current if decision else None) == expected


@pytest.mark.parametrize(
    ("cards", "wanted"),
    [
        ((Card(0, "x", 20, 3),), 4),
        ((Card(0, "x", 20, 14),), 4),
        ((Card(0, "x", 20, 9),), 3),
        ("no driver", 2),
    ],
)
def test_no_more_replicas_than_the_cards_hold(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, cards: Any, wanted: int
) -> None:
    """Each takes 6; what cannot be looked at holds no more than runs now."""
    monkeypatch.setattr(scaling.LocalMachine, "cards", lambda self: cards)
    running(monkeypatch, 0, 1)
    with histogram(0, 20) as (url, _):
        web = stand.web(resources={"gpu_memory": 6 if cards != (Card(0, "x", 20, 3),) else 1})
        site = stand.change(components={"web": web}, scaling=stand.scaling(source=url, maximum=4, step_up=2))
        decision = scaling.explain(site, "web")
    assert decision is not None
    assert decision.wanted == wanted


@pytest.mark.parametrize(
    ("current", "wanted", "good"),
    [
        (1, 2, True), (1, 3, True), (1, 4, False), (1, 0, False), (5, 4, True), (5, 3, True), (5, 6, False),
        (4, 5, False), (0, 1, True),
    ],
)  # fmt: skip
def test_bounds_of_what_may_be_carried_out(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, current: int, wanted: int, good: bool
) -> None:
    """1 to 3 are allowed; from outside, a step towards that is."""
    site = stand.change(scaling=stand.scaling())
    done: list[int] = []
    monkeypatch.setattr(deployments, "replicas", lambda site, component: current)
    monkeypatch.setattr(deployments, "scale_held", lambda site, component, count, fence: done.append(count))
    if good:
        scaling.apply(site, "web", current=current, wanted=wanted, decided=now(), by="test")
        assert _scaling_memory.changed(site, "web") is not None
    else:
        with pytest.raises(UsageError, match=r"outside 1\.\.3"):
            scaling.apply(site, "web", current=current, wanted=wanted, decided=now(), by="test")
    assert done == ([wanted] if good else [])


def test_a_change_counts_from_when_it_is_begun(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is killed half way has added a replica: the cooldown holds."""
    site = stand.change(scaling=stand.scaling())
    monkeypatch.setattr(deployments, "replicas", lambda site, component: 1)

    def killed(*words: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(deployments, "scale_held", killed)
    with pytest.raises(KeyboardInterrupt):
        scaling.apply(site, "web", current=1, wanted=2, decided=now(), by="test")
    assert _scaling_memory.changed(site, "web") is not None


@pytest.mark.parametrize(
    ("decided", "error", "said"),
    [
        (datetime(2026, 1, 2, 3, 4), UsageError, "has no zone"),  # noqa: DTZ001 - that is the point
        (datetime.now(UTC) + timedelta(hours=1), StaleDecision, "yet to come"),
        (datetime.now(UTC) - timedelta(hours=2), StaleDecision, "old"),
    ],
)
def test_a_decision_of_another_time_is_refused(
    stand: Stand, decided: datetime, error: type[Exception], said: str
) -> None:
    site = stand.change(scaling=stand.scaling())
    with pytest.raises(error, match=said):
        scaling.apply(site, "web", current=0, wanted=1, decided=decided, by="test")
    assert texts(site.state / "scaling") == {}


def test_a_decision_waits_for_whoever_changes_the_stack(stand: Stand) -> None:
    site = stand.change(scaling=stand.scaling())
    with lease(site, "a restore"), pytest.raises(LeaseHeld, match="a restore"):
        scaling.apply(site, "web", current=0, wanted=1, decided=now(), by="test")
