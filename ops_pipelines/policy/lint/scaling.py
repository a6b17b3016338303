"""Rules on scaling: one owner, a rule that cannot scale the wrong way, readings that mean something."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ops_pipelines.policy.lint.rule import Found, Rule, host_of, port_in
from ops_pipelines.stack.model import Stack
from ops_pipelines.stack.operations import Scaling

_PAGE = re.compile(r"\s*(mean\(\s*)?[A-Za-z_:][\w:]*\s*(\{[^}]*\})?\s*\)?\s*", re.DOTALL)
_QUANTILE = re.compile(r"histogram_quantile\s*\(\s*[^,]+,(?P<rest>.*)", re.DOTALL)
_RATE = re.compile(r"\b(rate|irate|increase)\s*\(")
_GAUGE_RATE = re.compile(
    r"\b(rate|irate|increase)\s*\(\s*\w*(pending|queue|waiting|in_flight|inflight)\w*(?<!_total)\s*[\[{]"
)
_SECONDS = re.compile(r"_seconds(_bucket|_sum|_count)?\b")


def one_owner(stack: Stack) -> Iterator[Found]:
    """Replicas that HPA or KEDA changes and this project too, or that belong to an owner who is not there.

    Two owners of one number undo each other's changes for ever, and each of them looks right by itself.
    """
    for name, rule in stack.scaling.items():
        where = f"scaling.{name}"
        others = [
            key for key, each in stack.scaling.items() if each.component == rule.component and key != name
        ]
        if any(stack.scaling[key].owner != rule.owner for key in others) and rule.owner != "ops-pipelines":
            yield Found(
                f"{where}.owner", f"{rule.owner}, beside ops-pipelines in scaling.{others[0]}",
                f"both change the replicas of {rule.component}", "leave one of the two rules",
            )  # fmt: skip
        if rule.owner != "ops-pipelines" and rule.mode != "observe":
            yield Found(
                f"{where}.mode", f"{rule.mode}, while {rule.owner} owns the replicas",
                "this project would refuse to apply its decisions", "use mode observe, or owner ops-pipelines",
            )  # fmt: skip
        if rule.owner != "ops-pipelines" and stack.target.kind != "kubernetes":
            yield Found(
                f"{where}.owner", f"{rule.owner} on target {stack.target.kind}", "nobody changes the replicas",
                "move the rule into the profile of the cluster, or use owner ops-pipelines",
            )  # fmt: skip


def weighted_mean(stack: Stack) -> Iterator[Found]:
    """The policy `weighted`: a mean hides the one signal that is full.

    Card 100 %, processor 10 %, queue 0, 500 ms: the guide's rule takes replicas away from a full card.
    """
    for name, rule in stack.scaling.items():
        if rule.policy == "weighted":
            yield Found(
                f"scaling.{name}.policy", "weighted", "a mean hides the one signal that is full",
                "use `saturation`: the most loaded signal decides", "warning",
            )  # fmt: skip


def scale_to_zero(stack: Stack) -> Iterator[Found]:
    """A minimum of 0: the next request waits for a model to load, or nothing is left that could be read."""
    for name, rule in stack.scaling.items():
        if rule.minimum:
            continue
        own = [rule.source, *(each.source for each in rule.signals.values() if each.source)]
        if all("{port." in source for source in own):
            yield Found(
                f"scaling.{name}.minimum", "0, with readings from the replicas themselves",
                "with no replica there is no reading, and without a reading none is added",
                "read the queue from the proxy in front, or keep one replica",
            )  # fmt: skip
        else:
            breaks = "the first request after that waits until the model is loaded"
            remedy = "keep one replica, or accept the wait"
            yield Found(f"scaling.{name}.minimum", "0", breaks, remedy, "warning")


def replicas_outside(stack: Stack) -> Iterator[Found]:
    """Declared replicas outside the bounds of their scaling: each deploy undoes what scaling did, and back."""
    for name, rule in stack.scaling.items():
        component = stack.components.get(rule.component)
        if component is None or component.address is not None:
            continue
        if not rule.minimum <= component.replicas <= rule.maximum:
            yield Found(
                f"components.{rule.component}.replicas",
                f"{component.replicas}, outside {rule.minimum} to {rule.maximum} of scaling.{name}",
                "a deploy and scaling change it in turns", "declare a number within the bounds", "warning",
            )  # fmt: skip


def replica_without_cache(stack: Stack) -> Iterator[Found]:
    """Scaling beyond the replicas of a model cache that each replica has for itself: the new one is empty."""
    for name, rule in stack.scaling.items():
        for key in dict.fromkeys(
            m.cache for m in stack.models.values() if m.served_by == rule.component and m.cache
        ):
            cache = stack.caches.get(key)
            if cache is not None and "{replica}" in cache.path and rule.maximum > cache.replicas:
                yield Found(
                    f"scaling.{name}.maximum", f"{rule.maximum}, where the cache {key} has {cache.replicas} replicas",
                    "a new replica would pull its models first, or serve none",
                    f"set caches.{key}.replicas to {rule.maximum}", "warning",
                )  # fmt: skip


def query_meaning(stack: Stack) -> Iterator[Found]:
    """Queries that do not say what they seem to: a quantile over no rate, the rate of a queue's length."""
    for name, rule in stack.scaling.items():
        for word, signal in rule.signals.items():
            path, query = f"scaling.{name}.signals.{word}.query", signal.query
            if (signal.source or rule.source).rstrip("/").endswith("/metrics"):
                if not _PAGE.fullmatch(query):
                    yield Found(
                        path, "an expression, where the source is a page of metrics", "every reading would be unknown",
                        "write NAME{label=\"value\"} or mean(NAME), or name a Prometheus server as the source",
                    )  # fmt: skip
                continue
            quantile = _QUANTILE.search(query)
            if quantile and not (_RATE.search(quantile["rest"]) and "_bucket" in quantile["rest"]):
                yield Found(
                    path, "histogram_quantile over what is no rate of buckets",
                    "it is of everything since the start, or of nothing",
                    "write histogram_quantile(0.95, sum by (le) (rate(NAME_bucket[5m])))",
                )  # fmt: skip
            if _GAUGE_RATE.search(query):
                breaks = "a full queue that does not grow reads as empty"
                yield Found(path, "the rate of a queue's length", breaks, "use the length itself", "warning")
            if (
                _SECONDS.search(query)
                and signal.target >= 100
                and "* 1000" not in query
                and "_cpu_" not in query
            ):
                yield Found(
                    f"scaling.{name}.signals.{word}.target", f"{signal.target:g}, where the query is in seconds",
                    "it would never be reached", "write the target in seconds", "warning",
                )  # fmt: skip


def source_port(stack: Stack) -> Iterator[Found]:
    """Readings asked of a component at a port it does not have (Aphrodite's metrics are on 2242, not 8000)."""
    for name, rule in stack.scaling.items():
        for path, source in _sources(name, rule):
            component = stack.components.get(host_of(source)) if "{" not in source else None
            port = port_in(source)
            if component is not None and component.ports and port not in component.ports.values():
                known = ", ".join(str(number) for number in component.ports.values())
                breaks, remedy = "every reading would be unknown", f"its ports: {known}"
                yield Found(path, f"port {port} of {host_of(source)}, which has no such port", breaks, remedy)


def floors_alone(stack: Stack) -> Iterator[Found]:
    """Only signals that must stay above their target: nothing could ever ask for more replicas."""
    for name, rule in stack.scaling.items():
        if rule.signals and all(signal.floor for signal in rule.signals.values()):
            breaks = "they can only stop scaling up, never start it"
            yield Found(f"scaling.{name}.signals", "floors alone", breaks, "add a signal of load", "warning")


def _sources(name: str, rule: Scaling) -> Iterator[tuple[str, str]]:
    yield f"scaling.{name}.source", rule.source
    for word, signal in rule.signals.items():
        if signal.source:
            yield f"scaling.{name}.signals.{word}.source", signal.source


RULES = (
    Rule("one-owner", (10,), one_owner),
    Rule("weighted-mean", (9, 32), weighted_mean),
    Rule("scale-to-zero", (14,), scale_to_zero),
    Rule("replicas-outside", (10,), replicas_outside),
    Rule("replica-without-cache", (7,), replica_without_cache),
    Rule("query-meaning", (11, 27), query_meaning),
    Rule("source-port", (21,), source_port),
    Rule("floors-alone", (9,), floors_alone),
)
