"""How one component's traffic moves to its new version while the old one still runs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ops_pipelines.stack.base import Declared
from ops_pipelines.stack.units import Duration, Name


class HaproxyReadings(Declared):
    """HAProxy's own counters, from its page in Prometheus' text format (`http-request use-service
    prometheus-exporter`)."""

    kind: Literal["haproxy"]
    url: str
    """The page as it is reached from here: `http://127.0.0.1:8404/metrics`."""
    backend: str
    """Backend whose responses are counted; those of 500 and above are errors, HAProxy's own among them."""


class NginxReadings(Declared):
    """nginx's access log, read from what its containers print. It must be in the format `combined` or `main`."""

    kind: Literal["nginx"]
    path: str = "/"
    """Requests whose path begins so are counted; those answered with 500 and above are errors."""


class PrometheusReadings(Declared):
    """Two queries of a Prometheus server. `{watched}` stands for the time since the traffic was moved, as in
    `sum(increase(http_requests_total[{watched}]))`."""

    kind: Literal["prometheus"]
    url: str
    requests: str
    """Requests since the traffic was moved."""
    errors: str
    """Those of them that failed."""


class BlueGreen(Declared):
    """A deploy that changes this component starts the new version beside the old one, moves the traffic of the
    proxy, or of the cluster's Services, to it, and watches. What is bad, or cannot be known, goes back."""

    proxy: Name | None = None
    """Component (of kind `proxy`) whose configuration names this one as `NAME:PORT`. Needed on target `compose`; on
    `kubernetes` the Services of the component are switched instead."""
    server: Literal["haproxy", "nginx"] | None = None
    """Which proxy that is."""
    readings: Annotated[HaproxyReadings | NginxReadings | PrometheusReadings, Field(discriminator="kind")]
    """Where requests and errors are counted."""
    watch: Annotated[Duration, Field(gt=0)] = 300.0
    """How long the new version must do well before the old one goes."""
    errors: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """Largest share of requests that may fail."""
    requests: Annotated[int, Field(ge=1)] = 100
    """Fewest requests from which anything can be concluded. With fewer at the end of the watch, traffic goes back."""
    unknown_for: Annotated[Duration, Field(ge=0)] = 15.0
    """How long readings may be unknown before traffic goes back."""
    every: Annotated[Duration, Field(gt=0)] = 5.0
    """Time between two readings."""
    drain: Annotated[Duration, Field(ge=0)] = 60.0
    """How long requests that are under way may still take once their version gets no more."""
    probe: str | None = None
    """URL that leads through the proxy to this component. It is asked at each reading, so that a stack that
    nobody uses at night has readings."""
    automatic: bool = True
    """Every deploy that changes this component goes this way. `false`: only with `deploy --blue-green`."""

    @property
    def door(self) -> str:
        """The proxy; empty where none is named."""
        return self.proxy or ""
