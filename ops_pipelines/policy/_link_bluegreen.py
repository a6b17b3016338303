"""References of components whose traffic moves to new versions."""

from __future__ import annotations

from collections.abc import Iterator

from ops_pipelines.policy._link_operations import url_link
from ops_pipelines.policy._link_problem import LinkProblem, no_component
from ops_pipelines.stack.bluegreen import BlueGreen, NginxReadings, PrometheusReadings
from ops_pipelines.stack.model import Stack

_ALONE = frozenset({
    "milvus", "qdrant", "postgres", "clickhouse", "redis", "object-store", "prometheus", "ray-head", "proxy",
})  # fmt: skip
"""Kinds of which two must not work on the same data, or that are the door themselves."""


def bluegreen_links(stack: Stack) -> Iterator[LinkProblem]:
    """The proxy, the kinds that may run twice, and where requests are counted."""
    for name, component in stack.components.items():
        if component.blue_green is not None:
            yield from _one(stack, name, component.blue_green, f"components.{name}.blue_green")


def _one(stack: Stack, name: str, rule: BlueGreen, where: str) -> Iterator[LinkProblem]:
    component = stack.components[name]
    if component.kind in _ALONE or component.address is not None:
        what = "which runs elsewhere" if component.address is not None else f"of kind {component.kind}"
        yield LinkProblem(
            where, f"{name}, {what}", "two of it must not, or cannot, run at once", "take `blue_green` out"
        )
    kind = stack.target.kind
    if kind == "compose":
        yield from _door(stack, rule, where)
    elif kind != "kubernetes":
        yield LinkProblem(
            where, f"target {kind}", "only on compose and kubernetes is a new version started beside the old one",
            "take it out of this profile", "warning",
        )  # fmt: skip
    elif isinstance(rule.readings, NginxReadings):
        yield LinkProblem(
            f"{where}.readings.kind", "readings of nginx", "on a cluster no log of one proxy has all requests",
            "make it prometheus",
        )  # fmt: skip
    yield from _readings(rule, where)
    yield from url_link(f"{where}.probe", rule.probe, "nothing could be asked")
    if rule.every >= rule.watch:
        yield LinkProblem(
            f"{where}.every", f"{rule.every:g} s, and a watch of {rule.watch:g} s",
            "nothing would be read before its end", "read more often, or watch longer",
        )  # fmt: skip


def _door(stack: Stack, rule: BlueGreen, where: str) -> Iterator[LinkProblem]:
    """The proxy that is told where to send."""
    if rule.proxy is None or rule.server is None:
        yield LinkProblem(
            where, "no `proxy`, or no `server`", "on target compose a proxy moves the traffic",
            "name the component, and whether it is haproxy or nginx",
        )  # fmt: skip
        return
    proxy = stack.components.get(rule.proxy)
    if proxy is None:
        yield no_component(stack, f"{where}.proxy", rule.proxy, "nobody could move its traffic")
    elif proxy.kind != "proxy":
        yield LinkProblem(
            f"{where}.proxy", f"{rule.proxy}, which is of kind {proxy.kind}", "it moves no traffic",
            "name a component of kind proxy",
        )  # fmt: skip


def _readings(rule: BlueGreen, where: str) -> Iterator[LinkProblem]:
    """Where requests are counted."""
    if isinstance(rule.readings, NginxReadings):
        if rule.server != "nginx":
            yield LinkProblem(
                f"{where}.readings.kind", f"readings of nginx, and a proxy that is {rule.server}",
                "its log would be read as what it is not", "make it haproxy or prometheus",
            )  # fmt: skip
    else:
        yield from url_link(f"{where}.readings.url", rule.readings.url, "no request could be counted")
    if isinstance(rule.readings, PrometheusReadings):
        for word, query in (("requests", rule.readings.requests), ("errors", rule.readings.errors)):
            if "{watched}" not in query:
                yield LinkProblem(
                    f"{where}.readings.{word}", "a query without {watched}",
                    "it would count what was before the traffic moved",
                    "write sum(increase(NAME[{watched}]))",
                )  # fmt: skip
