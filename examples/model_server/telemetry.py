"""What a worker tells about itself: Prometheus metrics, and one JSON line an event on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Telemetry:
    """The metrics and the log of one worker. Safe to use from many threads.

    Only requests for embeddings are counted: probes and scrapes would drown the load that scaling reads.
    """

    def __init__(self, worker: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._worker = worker
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "model_server_requests",  # the library adds _total
            "Requests for embeddings that were answered, by HTTP status.",
            ["status"],
            registry=self._registry,
        )
        self._requests.labels("200")  # shown as 0 from the start, so that a rate has its first point
        self._seconds = Histogram(
            "model_server_request_duration_seconds",
            "From a request's headers to its answer, waiting for the model included.",
            buckets=SECONDS,
            registry=self._registry,
        )
        self._in_flight = Gauge(
            "model_server_requests_in_flight",
            "Requests for embeddings that wait for the model or are being computed.",
            registry=self._registry,
        )
        self.model_loaded = Gauge(
            "model_server_model_loaded", "1 once the model can answer, else 0.", registry=self._registry
        )

    @contextmanager
    def request(self) -> Iterator[None]:
        """Around one request for embeddings: it is in flight, and its time is taken."""
        with self._in_flight.track_inprogress(), self._seconds.time():
            yield

    def answered(self, status: int) -> None:
        self._requests.labels(str(status)).inc()

    def exposition(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def log(self, event: str, **fields: object) -> None:
        moment = datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": moment, "event": event, "worker": self._worker, **fields}, default=str)
        sys.stderr.write(line + "\n")  # one write, so that threads do not mix their lines
        sys.stderr.flush()
