"""Readings from real pages and a real Prometheus server; what cannot be read is unknown, never 0."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import pytest

from ops_pipelines.adapters.prometheus import Memory, MetricsPages, PrometheusServer
from tests.parts import require
from tests.serving import serve
from tests.waiting import free_port, until

ROOT = Path(__file__).parents[2]


def now() -> datetime:
    return datetime.now(UTC)


@contextmanager
def serving(text: str) -> Iterator[tuple[str, list[str]]]:
    """A page whose text can be changed."""
    page = [text]

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = page[0].encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None: ...

    with serve(Page) as url:
        yield f"{url}/metrics", page


@pytest.mark.parametrize(
    ("query", "aggregate", "value", "reason"),
    [
        ("util", "max", 90.0, ""),
        ("util", "avg", 60.0, ""),
        ("util", "min", 30.0, ""),
        ("util", "sum", 120.0, ""),
        ('util{gpu="1"}', "max", 30.0, ""),
        ('util{gpu="7"}', "max", None, "no series"),
        ("other", "max", None, "no series"),
        ("broken", "max", None, "not a number"),
        ("rate(util[5m])", "max", None, "cannot be asked of a metrics page"),
        ("util{gpu=1}", "max", None, "labels"),
        ("zero", "max", 0.0, ""),
    ],
)
def test_a_page(query: str, aggregate: str, value: float | None, reason: str) -> None:
    with serving('util{gpu="0"} 90\nutil{gpu="1"} 30\nbroken NaN\nzero 0\n') as (url, _):
        reading = MetricsPages([url]).read("s", query, aggregate, 60, now())
    assert reading.value == value
    assert reason in reading.reason
    assert reading.known is (value is not None)


def test_pages_of_replicas_are_read_together_or_not_at_all() -> None:
    with serving("queue 4\n") as (one, _), serving("queue 8\n") as (two, _):
        assert MetricsPages([one, two]).read("s", "queue", "avg", 60, now()).value == 6
        gone = MetricsPages([one, "http://127.0.0.1:9/metrics"]).read("s", "queue", "avg", 60, now())
    assert gone.value is None
    assert "does not answer" in gone.reason


def test_a_page_that_is_none() -> None:
    with serving("<html>not metrics</html>") as (url, _):
        reading = MetricsPages([url]).read("s", "util", "max", 60, now())
    assert reading.value is None
    assert "text format" in reading.reason


def test_the_mean_of_a_histogram_is_taken_between_two_readings() -> None:
    with serving("lat_sum 10\nlat_count 5\n") as (url, page):
        source = MetricsPages([url])
        assert source.read("s", "mean(lat)", "avg", 60, now()).value is None
        page[0] = "lat_sum 40\nlat_count 15\n"
        assert source.read("s", "mean(lat)", "avg", 60, now()).value == 3.0
        quiet = source.read("s", "mean(lat)", "avg", 60, now())
        assert quiet.value == 0
        assert quiet.quiet
        assert "no request" in quiet.reason
        page[0] = "lat_sum 1\nlat_count 1\n"
        assert "restarted" in source.read("s", "mean(lat)", "avg", 60, now()).reason


def test_a_mean_knows_its_page_and_its_time() -> None:
    """One memory serves every signal of a rule; a replica that was restarted is no gain of the others'."""
    at, memory = now(), Memory()
    with (
        serving("lat_sum 10\nlat_count 5\n") as (one, first),
        serving("lat_sum 500\nlat_count 5\n") as (two, _),
    ):
        for url in (one, two):
            assert MetricsPages([url], memory).read("s", "mean(lat)", "avg", 60, at).value is None
        first[0] = "lat_sum 12\nlat_count 6\n"
        assert MetricsPages([one], memory).read("s", "mean(lat)", "avg", 60, at).value == 2.0
        both = MetricsPages([one, two], memory)
        first[0] = "lat_sum 1\nlat_count 1\n"
        assert "restarted" in both.read("s", "mean(lat)", "avg", 60, at).reason
        first[0] = "lat_sum 9\nlat_count 2\n"
        assert both.read("s", "mean(lat)", "avg", 60, at).value == 8.0
        first[0] = "lat_sum 10\nlat_count 3\n"
        late = both.read("s", "mean(lat)", "avg", 60, at + timedelta(hours=8))
    assert late.value is None
    assert "28800 s old" in late.reason


def test_no_password_is_told() -> None:
    closed = f"http://user:hunter2@127.0.0.1:{free_port()}"
    for source in (PrometheusServer(closed), MetricsPages([f"{closed}/metrics"])):
        reading = source.read("s", "up", "max", 60, now())
        assert reading.value is None
        assert "hunter2" not in reading.reason


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """(URL of a real Prometheus, URL of the example exporter that it scrapes every second)."""
    program = require("prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    port, exporter = free_port(), free_port()
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s}\n"
        f"scrape_configs: [{{job_name: gpu, static_configs: [{{targets: ['127.0.0.1:{exporter}']}}]}}]\n"
    )
    replay = subprocess.Popen(
        [sys.executable, str(ROOT / "examples/gpu_exporter/exporter.py"), f"--port={exporter}"]
    )
    server = subprocess.Popen(
        [
            str(program["prometheus"]),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        until(
            lambda: PrometheusServer(url).read("s", "DCGM_FI_DEV_GPU_UTIL", "max", 60, now()).known,
            what="a first scrape",
            seconds=30,
        )
        yield url, f"http://127.0.0.1:{exporter}"
    finally:
        for process in (server, replay):
            process.kill()
            process.wait()


@pytest.mark.parametrize(
    ("query", "known", "reason"),
    [
        ("DCGM_FI_DEV_GPU_UTIL", True, ""),
        ("avg(DCGM_FI_DEV_FB_FREE)", True, ""),
        ("scalar(avg(DCGM_FI_DEV_FB_FREE))", True, ""),
        ("absent_metric", False, "no series"),
        ("0 / 0", False, "not a number"),
        ("1 / 0", False, "not a number"),
        ("sum(", False, "answered 400"),
        ("DCGM_FI_DEV_GPU_UTIL[1m]", False, "not a matrix"),
    ],
)
def test_a_server(prometheus: tuple[str, str], query: str, known: bool, reason: str) -> None:
    reading = PrometheusServer(prometheus[0]).read("s", query, "max", 60, now())
    assert reading.known is known, reading
    assert reason in reading.reason


def test_a_server_gives_what_the_exporter_shows(prometheus: tuple[str, str]) -> None:
    url, exporter = prometheus
    httpx.post(f"{exporter}/hold", json={"utilisation": 97})
    server = PrometheusServer(url)
    until(
        lambda: server.read("s", "DCGM_FI_DEV_GPU_UTIL", "max", 60, now()).value == 97,
        what="the held utilisation",
        seconds=20,
    )


def test_a_server_that_is_down() -> None:
    reading = PrometheusServer("http://127.0.0.1:9").read("s", "up", "max", 60, now())
    assert reading.value is None
    assert "does not answer" in reading.reason
