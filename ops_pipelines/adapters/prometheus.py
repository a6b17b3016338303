"""Readings from a Prometheus server, or from pages in its text format.

Neither ever raises: what could not be read, is not a number or is not there is an unknown reading, with the
reason. A value of 0 is only ever one that was measured.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ops_pipelines.adapters import _http
from ops_pipelines.errors import OpsError
from ops_pipelines.policy.readings import Reading, unknown

_TIMEOUT = 5.0
_LONGEST = 300.0
"""Seconds that two readings of a mean may be apart, at least: one over a whole night says nothing of now."""
_REMEDY = "see whether it runs, and whether scaling.source names the right address"
_SELECTOR = re.compile(r"\s*([a-zA-Z_:][\w:]*)\s*(?:\{(.*)\})?\s*", re.DOTALL)
_LABEL = re.compile(r'\s*([a-zA-Z_]\w*)\s*=\s*"([^"]*)"\s*(?:,|$)')
_MEAN = re.compile(r"\s*mean\((.+)\)\s*", re.DOTALL)
_USERINFO = re.compile(r"//[^/@]*@")


@dataclass(frozen=True)
class PrometheusServer:
    """The HTTP API of a Prometheus server (https://prometheus.io/docs/prometheus/latest/querying/api/)."""

    url: str

    def read(self, signal: str, query: str, aggregate: str, stale_after: float, now: datetime) -> Reading:
        """One instant query at `now`. Series older than `stale_after` seconds are not looked at."""
        where = f"Prometheus at {_shown(self.url)}"
        parameters = {
            "query": query,
            "time": f"{now.timestamp():.3f}",
            "timeout": f"{_TIMEOUT:g}s",
            "lookback_delta": f"{stale_after:g}s",
        }
        try:
            with _http.client(self.url, timeout=_TIMEOUT) as http:
                answer = _http.request(
                    http,
                    "GET",
                    "/api/v1/query",
                    params=parameters,
                    what=where,
                    remedy=_REMEDY,
                ).json()
            values = _values_of(answer["data"])
        except OpsError as error:
            return unknown(signal, now, error.message)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            return unknown(signal, now, f"{where} gave an answer that cannot be read ({error})")
        return _reading(signal, values, aggregate, now, what=f"`{query}`")


Memory = dict[str, tuple[float, float, float]]
"""Page and query -> sum, count and time (seconds since 1970) of a histogram's reading before."""


@dataclass
class MetricsPages:
    """One or more pages in the text format, read together (the replicas of one component).

    `memory` holds, for each page and each `mean(...)`, what the reading before said; it is updated, and whoever
    owns it keeps it between readings.
    """

    urls: Sequence[str]
    memory: Memory = field(default_factory=dict)

    def read(self, signal: str, query: str, aggregate: str, stale_after: float, now: datetime) -> Reading:
        """One gauge, or the mean of a histogram since the reading before, which may not be older than
        `stale_after` seconds (at least five minutes)."""
        pages: dict[str, list[_Sample]] = {}
        for url in self.urls:
            try:
                pages[url] = _page(url)
            except OpsError as error:
                return unknown(signal, now, error.message)
            except (ValueError, KeyError, IndexError, TypeError) as error:
                why = f"{_shown(url)} is not in Prometheus' text format ({error})"
                return unknown(signal, now, why)
        mean = _MEAN.fullmatch(query)
        try:
            if mean:
                return self._mean(signal, mean[1], pages, max(stale_after, _LONGEST), now)
            samples = [sample for page in pages.values() for sample in page]
            return _reading(signal, _select(query, samples), aggregate, now, what=f"`{query}`")
        except ValueError as error:
            return unknown(signal, now, str(error))

    def _mean(
        self, signal: str, query: str, pages: Mapping[str, list[_Sample]], longest: float, now: datetime
    ) -> Reading:
        """Sum and count are compared page by page: a replica that was started anew counts from 0 again."""
        name, labels = _selector(query)
        total = count = 0.0
        problem = ""
        for url, samples in pages.items():
            sums = _matching(samples, f"{name}_sum", labels)
            counts = _matching(samples, f"{name}_count", labels)
            if not sums or not counts:
                problem = f"no histogram matches `{query}`"
                continue
            key, seen = f"{url} {query}", (sum(sums), sum(counts), now.timestamp())
            before = self.memory.get(key)
            if not all(math.isfinite(value) for value in seen):
                problem = f"`{query}` is not a number (NaN or infinite)"
                continue
            self.memory[key] = seen
            if before is None:
                problem = "a mean needs a second reading"
            elif seen[2] - before[2] > longest:
                problem = f"the reading before is {seen[2] - before[2]:.0f} s old: a mean needs a second one"
            elif seen[1] < before[1] or seen[0] < before[0]:
                problem = "the server was restarted since the reading before"
            else:
                total, count = total + seen[0] - before[0], count + seen[1] - before[1]
        if problem:
            return unknown(signal, now, problem)
        if not count:
            return Reading(signal, 0.0, now, "no request ended since the reading before", quiet=True)
        return _reading(signal, [total / count], "avg", now, what=f"`{query}`")


@dataclass(frozen=True)
class _Sample:
    name: str
    labels: Mapping[str, str]
    value: float


def _page(url: str) -> list[_Sample]:
    from prometheus_client.parser import text_string_to_metric_families

    with _http.client(timeout=_TIMEOUT) as http:
        text = _http.request(http, "GET", url, what=_shown(url), remedy=_REMEDY).text
    return [
        _Sample(sample.name, sample.labels, float(sample.value))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


def _shown(url: str) -> str:
    """The address without a user's name and password: what it is told in is kept and read by many."""
    return _USERINFO.sub("//", url)


def _select(query: str, samples: Sequence[_Sample]) -> list[float]:
    name, labels = _selector(query)
    return _matching(samples, name, labels)


def _matching(samples: Iterable[_Sample], name: str, labels: Mapping[str, str]) -> list[float]:
    return [s.value for s in samples if s.name == name and labels.items() <= s.labels.items()]


def _selector(query: str) -> tuple[str, dict[str, str]]:
    match = _SELECTOR.fullmatch(query)
    if match is None:
        raise ValueError(
            f'`{query}` cannot be asked of a metrics page: write name{{label="value"}} or mean(name)'
        )
    text = match[2] or ""
    labels = {m[1]: m[2] for m in _LABEL.finditer(text)}
    if _LABEL.sub("", text).strip():
        raise ValueError(
            f'the labels of `{query}` cannot be read: write name{{label="value", other="value"}}'
        )
    return match[1], labels


def _values_of(data: Mapping[str, object]) -> list[float]:
    kind, result = data["resultType"], data["result"]
    if kind == "scalar" and isinstance(result, list):
        return [float(result[1])]
    if kind == "vector" and isinstance(result, list):
        return [float(series["value"][1]) for series in result]
    raise ValueError(f"an instant vector or a scalar is needed, not a {kind}")


def _reading(signal: str, values: Sequence[float], aggregate: str, now: datetime, *, what: str) -> Reading:
    if not values:
        return unknown(signal, now, f"no series matches {what}")
    if not all(math.isfinite(value) for value in values):
        return unknown(signal, now, f"{what} is not a number (NaN or infinite)")
    gathered = {"avg": sum(values) / len(values), "max": max(values), "min": min(values), "sum": sum(values)}
    return Reading(signal, gathered[aggregate], now)
