"""How a version of a component does under real requests: HAProxy's counters, nginx's log, or two queries.

None of them ever raises or says 0 for what it did not read.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ops_pipelines.adapters.prometheus import MetricsPages, PrometheusServer
from ops_pipelines.errors import OpsError
from ops_pipelines.policy.bluegreen import Look
from ops_pipelines.policy.readings import Reading

_STALE = 120.0
_OVERLAP = timedelta(seconds=2)
"""A line may reach Docker a little after another that bears a later time."""
_STARTED = "haproxy_process_start_time_seconds"
_LINE = re.compile(r'"[A-Z]+ (?P<path>\S+) HTTP/[\d.]+" (?P<status>\d{3}) ')
"""Request and status in nginx's `combined` and `main` (https://nginx.org/en/docs/http/ngx_http_log_module.html)."""


@dataclass
class HaproxyCounters:
    """Counters of one backend. A reload starts a new process, which counts from 0: so they count since the move."""

    url: str
    backend: str
    _before: float | None = field(default=None, repr=False)
    """When the process was started that the reload replaces (seconds since 1970, whole)."""
    _counting: float | None = field(default=None, repr=False)

    def ready(self) -> str:
        """Read once, and be sure that a process started from now on is known by its time, which is in whole seconds."""
        now = datetime.now().astimezone()
        started, requests = self._read(_STARTED, now), self._requests(now)
        if started.value is None or requests.value is None:
            return started.reason or requests.reason
        self._before, self._counting = started.value, None
        while time.time() < started.value + 1:
            time.sleep(0.05)
        return ""

    def look(self, moved: datetime, now: datetime) -> Look:
        """What the process counted that has served since the move."""
        del moved
        started = self._read(_STARTED, now)
        errors, requests = self._requests(now, code="5xx"), self._requests(now)
        for one in (started, errors, requests):
            if one.value is None:
                return Look(now, None, None, reason=one.reason)
        if started.value == self._before:
            return Look(now, None, None, reason="HAProxy still answers by the process from before the move")
        if self._counting not in (None, started.value):
            return Look(now, None, None, reason="HAProxy was started anew: what it had counted is lost")
        self._counting = started.value
        return Look(now, requests.value, errors.value)

    def _requests(self, now: datetime, code: str = "") -> Reading:
        more = f',code="{code}"' if code else ""
        return self._read(f'haproxy_backend_http_responses_total{{proxy="{self.backend}"{more}}}', now)

    def _read(self, query: str, now: datetime) -> Reading:
        return MetricsPages([self.url]).read("traffic", query, "sum", _STALE, now)


@dataclass
class NginxLog:
    """Lines of an access log. `printed` gives (container, time as Docker writes it, line) of those since a time."""

    printed: Callable[[datetime], Iterable[tuple[str, str, str]]]
    path: str = "/"
    _asked: datetime | None = field(default=None, repr=False)
    _last: dict[str, str] = field(default_factory=dict, repr=False)
    """Container -> time of the last line that was counted."""
    _requests: int = field(default=0, repr=False)
    _errors: int = field(default=0, repr=False)

    def ready(self) -> str:
        """Whether the log can be read at all."""
        self._asked, self._last, self._requests, self._errors = None, {}, 0, 0
        try:
            list(self.printed(datetime.now().astimezone()))
        except OpsError as error:
            return error.message
        return ""

    def look(self, moved: datetime, now: datetime) -> Look:
        """Lines since the move. Only what is new is read."""
        try:
            found = list(self.printed((self._asked or moved) - (_OVERLAP if self._asked else timedelta())))
        except OpsError as error:
            return Look(now, None, None, reason=error.message)
        self._asked = now
        for container, at, line in found:
            if at > self._last.get(container, ""):
                self._last[container] = at
                self._count(line)
        return Look(now, float(self._requests), float(self._errors))

    def _count(self, line: str) -> None:
        match = _LINE.search(line)
        if match is not None and match["path"].startswith(self.path):
            self._requests += 1
            self._errors += match["status"] >= "500"


@dataclass
class PrometheusQueries:
    """Two queries in which `{watched}` is the time since the move."""

    url: str
    requests: str
    errors: str

    def ready(self) -> str:
        """Whether the server answers: before the move nothing of the new version can be there."""
        now = datetime.now().astimezone()
        return PrometheusServer(self.url).read("traffic", "vector(1)", "sum", _STALE, now).reason

    def look(self, moved: datetime, now: datetime) -> Look:
        """What the server has since the move."""
        watched = f"{max(1, round((now - moved).total_seconds()))}s"
        server = PrometheusServer(self.url)
        values = []
        for query in (self.requests, self.errors):
            one = server.read("traffic", query.replace("{watched}", watched), "sum", _STALE, now)
            if one.value is None:
                return Look(now, None, None, reason=one.reason)
            values.append(one.value)
        return Look(now, values[0], values[1])
