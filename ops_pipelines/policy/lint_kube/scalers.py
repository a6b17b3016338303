"""Who decides how many replicas there are, and by what."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ops_pipelines.policy.lint_kube.rule import (
    Hit,
    KubeRule,
    Manifest,
    Objects,
    at,
    containers,
    items,
    look,
    scalars,
    text,
    where,
)
from ops_pipelines.stack.manifests import Table

_TRANSFER = "scaledobject.keda.sh/transfer-hpa-ownership"
_CARD = re.compile(r".*/gpu$|gpu\.intel\.com/.*")
_QUANTILE = re.compile(r"histogram_quantile\s*\(\s*[^,]+,")
_OVER_TIME = re.compile(r"\b(rate|irate|increase|delta)\s*\(|:")
"""A rate, or the name of a recording rule, which holds colons."""


def _target(one: Manifest) -> tuple[str, str, str] | None:
    """(namespace, kind, name) of what an object scales."""
    key = "targetRef" if one.kind == "VerticalPodAutoscaler" else "scaleTargetRef"
    name = text(one.root, "spec", key, "name")
    kind = text(one.root, "spec", key, "kind") or "Deployment"
    return (one.namespace, kind, name) if name else None


def _same(one: Manifest, other: Manifest) -> bool:
    """Whether two objects scale one workload; a namespace that is not written is whichever it is applied in."""
    mine, its = _target(one), _target(other)
    if mine is None or its is None:
        return False
    return mine[1:] == its[1:] and (mine[0] == its[0] or not mine[0] or not its[0])


def two_scalers(objects: Objects) -> Iterator[Hit]:
    """An HPA and KEDA, or two of either, on one workload: each undoes what the other does."""
    seen: list[Manifest] = []
    for one in objects:
        scales = one.kind in ("HorizontalPodAutoscaler", "ScaledObject")
        if not scales or text(one.root, "metadata", "annotations", _TRANSFER) == "true":
            continue
        other = next((each for each in seen if _same(one, each)), None)
        seen.append(one)
        if other is not None:
            yield Hit(
                at(one.root, "spec", "scaleTargetRef", "name"),
                where(one),
                f"{text(one.root, 'spec', 'scaleTargetRef', 'name')}, which {where(other)} scales too",
                "each undoes what the other does",
                "keep one of them: KEDA makes an HPA of its own",
            )


def keda_metric_name(objects: Objects) -> Iterator[Hit]:
    """`metricName` in a trigger: KEDA has dropped it, and names the metric itself (KEDA 2.10, changelog)."""
    for one, number, trigger in _triggers(objects):
        if look(trigger, "metadata", "metricName"):
            yield Hit(
                at(trigger, "metadata", "metricName"),
                f"{where(one)}.triggers.{number}",
                "metricName, which KEDA has dropped",
                "newer versions refuse or ignore it, and dashboards that use the name show nothing",
                "leave it out",
                "warning",
            )


def keda_cpu_type(objects: Objects) -> Iterator[Hit]:
    """`metadata.type` of a cpu or memory trigger: gone in KEDA 2.18; `metricType` stands beside `type` now."""
    for one, number, trigger in _triggers(objects):
        if text(trigger, "type") in ("cpu", "memory") and look(trigger, "metadata", "type"):
            yield Hit(
                at(trigger, "metadata", "type"),
                f"{where(one)}.triggers.{number}",
                f"`type` in the metadata of a {text(trigger, 'type')} trigger",
                "KEDA 2.18 refuses the ScaledObject",
                "write metricType: Utilization beside `type`, not in `metadata`",
            )


def keda_silence(objects: Objects) -> Iterator[Hit]:
    """A Prometheus trigger that takes no answer for 0: when the metric is gone, KEDA scales down.

    `ignoreNullValues: "false"` makes it an error, which holds the replicas or takes the `fallback`."""
    for one, number, trigger in _triggers(objects):
        if text(trigger, "type") == "prometheus" and text(trigger, "metadata", "ignoreNullValues") != "false":
            yield Hit(
                at(trigger, "type"),
                f"{where(one)}.triggers.{number}",
                "a metric that is 0 where there is no answer",
                "when its exporter dies, replicas are removed under load",
                'set ignoreNullValues: "false", and a `fallback`',
                "warning",
            )


def vpa_card(objects: Objects) -> Iterator[Hit]:
    """A VerticalPodAutoscaler that is to manage cards: it knows CPU and memory alone."""
    for one in objects:
        if one.kind != "VerticalPodAutoscaler":
            continue
        for policy in items(one.root, "spec", "resourcePolicy", "containerPolicies"):
            named = [
                key
                for word in ("minAllowed", "maxAllowed")
                for key in getattr(look(policy, word), "entries", {})
            ]
            named += [getattr(each, "text", "") for each in items(policy, "controlledResources")]
            card = next((name for name in named if _CARD.fullmatch(name)), None)
            if card and isinstance(policy, Table):
                yield Hit(
                    at(policy, "containerName"),
                    f"{where(one)}.resourcePolicy",
                    f"{card} among what it may change",
                    "the VPA refuses it, or ignores it and evicts the pods all the same",
                    "leave cards out; how many a replica has is part of its workload",
                )


def vpa_and_hpa(objects: Objects) -> Iterator[Hit]:
    """A VPA that acts and an HPA on CPU or memory for one workload: each changes what the other measures."""
    scaled = [
        one
        for one in objects
        if one.kind in ("HorizontalPodAutoscaler", "ScaledObject") and _by_resources(one)
    ]
    for one in objects:
        off = text(one.root, "spec", "updatePolicy", "updateMode") == "Off"
        if one.kind != "VerticalPodAutoscaler" or off:
            continue
        other = next((each for each in scaled if _same(one, each)), None)
        if other is not None:
            yield Hit(
                at(one.root, "spec", "targetRef", "name"),
                where(one),
                f"a VPA on what {where(other)} scales by CPU or memory",
                "each changes what the other measures: replicas and requests swing",
                'set updateMode: "Off", or scale by load',
            )


def _by_resources(one: Manifest) -> bool:
    if one.kind == "ScaledObject":
        return any(text(each, "type") in ("cpu", "memory") for each in items(one.root, "spec", "triggers"))
    return any(text(each, "type") == "Resource" for each in items(one.root, "spec", "metrics"))


def karpenter_gone(objects: Objects) -> Iterator[Hit]:
    """Karpenter's Provisioner and AWSNodeTemplate (v1alpha5) are gone; there are NodePool and EC2NodeClass."""
    for one in objects:
        old = one.api.startswith("karpenter.") and one.api.endswith(("v1alpha5", "v1alpha1", "v1beta1"))
        if old and one.kind in ("Provisioner", "AWSNodeTemplate", "NodePool", "EC2NodeClass", "NodeClaim"):
            yield Hit(
                at(one.root, "apiVersion"),
                where(one),
                f"{one.kind} of {one.api}",
                "Karpenter v1 does not know it: no node is made",
                "write a NodePool (karpenter.sh/v1) and an EC2NodeClass (karpenter.k8s.aws/v1)",
            )


def bare_quantile(objects: Objects) -> Iterator[Hit]:
    """histogram_quantile over a bare metric: it needs rate(..._bucket[...]), or it answers for all time, or nothing."""
    for one in objects:
        for path, value in scalars(one.root):
            for match in _QUANTILE.finditer(value.text):
                if not _OVER_TIME.search(_argument(value.text, match.end())):
                    yield Hit(
                        value.at,
                        f"{where(one)}.{path}",
                        "histogram_quantile over a metric without rate(..._bucket[...])",
                        "it shows no present latency, so nothing is told when it rises",
                        "write histogram_quantile(0.95, sum by (le) (rate(NAME_bucket[5m])))",
                        "warning",
                    )
                    break


def _argument(text: str, begun: int) -> str:
    """What stands in a call from a place on, up to the bracket that closes it."""
    depth = 1
    for index, letter in enumerate(text[begun:], begun):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return text[begun:index]
    return text[begun:]


def ollama_metrics(objects: Objects) -> Iterator[Hit]:
    """Prometheus asked to read a stock Ollama, which has no /metrics: its proxy or an exporter has.

    Of Aphrodite, metrics are on its own port 2242, not on 8000."""
    for one in containers(objects):
        notes = look(one.of.root, "spec", "template", "metadata", "annotations")
        if text(notes, "prometheus.io/scrape") != "true" or not isinstance(notes, Table):
            continue
        alone = len(items(one.pod, "containers")) == 1
        if one.image_kind == "ollama" and alone:
            yield Hit(
                at(notes, "prometheus.io/scrape"),
                f"{where(one.of)}.annotations",
                "Ollama, asked for metrics",
                "it has none: what scales or alerts by them never acts",
                "take them from the proxy or an exporter",
                "warning",
            )
        if one.image_kind == "aphrodite" and text(notes, "prometheus.io/port") == "8000":
            yield Hit(
                at(notes, "prometheus.io/port"),
                f"{where(one.of)}.annotations",
                "metrics of Aphrodite on port 8000",
                "nobody listens there",
                "read them on its own port, 2242",
                "warning",
            )


def aphrodite_port(objects: Objects) -> Iterator[Hit]:
    """A port 8000 for the metrics of Aphrodite: it serves them on its API's port, 2242."""
    for one in containers(objects):
        if one.image_kind != "aphrodite":
            continue
        for port in items(one.table, "ports"):
            if (
                text(port, "containerPort") == "8000"
                and "metric" in text(port, "name")
                and isinstance(port, Table)
            ):
                yield Hit(
                    at(port, "containerPort"),
                    f"{one.path}.ports",
                    "port 8000 for metrics",
                    "nobody listens there: Prometheus reads nothing",
                    "read /metrics on port 2242",
                    "warning",
                )


def _triggers(objects: Objects) -> Iterator[tuple[Manifest, int, Table]]:
    for one in objects:
        if one.kind in ("ScaledObject", "ScaledJob"):
            for number, trigger in enumerate(items(one.root, "spec", "triggers")):
                if isinstance(trigger, Table):
                    yield one, number, trigger


RULES = (
    KubeRule("OPS-K201", "two-scalers", (10,), two_scalers),
    KubeRule("OPS-K202", "keda-metric-name", (11,), keda_metric_name),
    KubeRule("OPS-K203", "keda-cpu-type", (11,), keda_cpu_type),
    KubeRule("OPS-K204", "keda-silence", (14,), keda_silence),
    KubeRule("OPS-K205", "vpa-card", (12,), vpa_card),
    KubeRule("OPS-K206", "vpa-and-hpa", (12,), vpa_and_hpa),
    KubeRule("OPS-K207", "karpenter-gone", (12,), karpenter_gone),
    KubeRule("OPS-K208", "bare-quantile", (27,), bare_quantile),
    KubeRule("OPS-K209", "ollama-metrics", (11, 21), ollama_metrics),
    KubeRule("OPS-K210", "aphrodite-metrics-port", (21,), aphrodite_port),
)
