"""Requests and errors of a version, by HAProxy, nginx or Prometheus; what is unknown is never 0."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ops_pipelines.adapters.docker_engine import DockerEngine
from ops_pipelines.adapters.live_proxies import LiveProxies
from ops_pipelines.adapters.traffic import HaproxyCounters, NginxLog, PrometheusQueries
from ops_pipelines.errors import Unreachable
from ops_pipelines.policy.bluegreen_project import LiveFile

NOW = datetime(2026, 11, 21, 17, 38, 7, tzinfo=UTC)
# As HAProxy 2.6.12 gave it.
PAGE = """\
# HELP haproxy_process_start_time_seconds Start time in seconds
# TYPE haproxy_process_start_time_seconds gauge
haproxy_process_start_time_seconds {started}
# HELP haproxy_backend_http_responses_total Total number of HTTP responses.
# TYPE haproxy_backend_http_responses_total counter
haproxy_backend_http_responses_total{{proxy="app",code="1xx"}} 0
haproxy_backend_http_responses_total{{proxy="app",code="2xx"}} {good}
haproxy_backend_http_responses_total{{proxy="app",code="5xx"}} {bad}
haproxy_backend_http_responses_total{{proxy="other",code="5xx"}} 99
"""


class Server:
    """A page of HAProxy, or none."""

    def __init__(self) -> None:
        self.text: str | None = None
        self.url = ""

    def say(self, started: int, good: int, bad: int) -> None:
        self.text = PAGE.format(started=started, good=good, bad=bad)


@pytest.fixture
def server() -> Iterator[Server]:
    here = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if here.text else 503)
            self.end_headers()
            self.wfile.write((here.text or "").encode())

        def log_message(self, *_: object) -> None: ...

    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    here.url = f"http://127.0.0.1:{made.server_port}/metrics"
    yield here
    made.shutdown()
    made.server_close()


def test_haproxy_counts_from_the_reload_on(server: Server) -> None:
    counters = HaproxyCounters(server.url, "app")
    server.say(1000, 500, 7)
    assert counters.ready() == ""
    assert "from before the move" in counters.look(NOW, NOW).reason, "the old process still answers"
    server.say(1005, 20, 1)
    look = counters.look(NOW, NOW)
    assert (look.requests, look.errors, look.known) == (21, 1, True)
    server.say(1009, 3, 0)
    assert "started anew" in counters.look(NOW, NOW).reason
    server.text = None
    assert not counters.look(NOW, NOW).known


def test_haproxy_that_cannot_be_counted_is_not_ready(server: Server) -> None:
    server.say(1000, 5, 0)
    assert "no series matches" in HaproxyCounters(server.url, "typo").ready()
    server.text = None
    assert "503" in HaproxyCounters(server.url, "app").ready()
    assert PrometheusQueries(server.url, "a", "b").ready()
    assert not PrometheusQueries(server.url, "a", "b").look(NOW, NOW).known


def line(at: int, path: str, status: int, container: str = "c1") -> tuple[str, str, str]:
    # As nginx 1.22.1 wrote it, in its format `combined`.
    said = f'10.215.0.1 - - [21/Nov/2026:17:38:07 +0000] "GET {path} HTTP/1.1" {status} 5 "-" "-"'
    return container, f"2026-11-21T17:38:{at:02}.000000000Z", said


def test_nginx_counts_each_line_once() -> None:
    lines = [
        line(7, "/ask", 200),
        line(7, "/ask", 502, "c2"),
        line(8, "/other", 500),
        line(8, "/ask", 404, "c2"),
    ]
    lines.append(
        ("c1", "2026-11-21T17:38:09.000000000Z", "2026/11/21 17:38:09 [error] 7#7: connect() failed")
    )
    asked: list[datetime] = []

    def printed(since: datetime) -> list[tuple[str, str, str]]:
        asked.append(since)
        return lines

    log = NginxLog(printed, "/ask")
    first, second = log.look(NOW, NOW), log.look(NOW, NOW)
    assert (first.requests, first.errors) == (second.requests, second.errors) == (3, 1)
    lines.append(line(10, "/ask", 500))
    third = log.look(NOW, NOW)
    assert (third.requests, third.errors) == (4, 2)
    assert asked[0] == NOW
    log.ready()
    assert log.look(NOW, NOW).requests == 4, "another deploy begins from its own move"


def test_a_log_that_cannot_be_read_is_unknown() -> None:
    def printed(since: datetime) -> list[tuple[str, str, str]]:
        raise Unreachable("no Docker Engine answers", remedy="start it")

    log = NginxLog(printed)
    assert "no Docker Engine" in log.ready()
    look = log.look(NOW, NOW)
    assert (look.known, look.requests, look.reason) == (False, None, "no Docker Engine answers")


@pytest.mark.parametrize("text", ["short\n", "x" * 9000 + "\n", ""])
def test_a_file_changes_in_place(tmp_path: Path, text: str) -> None:
    path = tmp_path / "haproxy.cfg"
    path.write_text("a configuration of some length\n" * 5)
    inode = path.stat().st_ino
    LiveProxies(DockerEngine({}), "p", tmp_path, tmp_path).write(LiveFile(path, "", ()), text)
    assert path.read_text() == text
    assert path.stat().st_ino == inode, "who has it mounted sees it"
