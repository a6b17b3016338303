"""A component's new version beside its old one on a cluster, as objects: the copy of its Deployment, and Services that
are pointed at one of the two. Pure.

The copy carries every label of the pods that it is made of, so that NetworkPolicies and disruption budgets hold for it
too, and one more. Services tell the two apart by that label, or by the hash that the Deployment controller gives pods
of one version.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ops_pipelines.policy.kube_objects import Object, pod_template
from ops_pipelines.policy.plan import Plan, Step
from ops_pipelines.stack.bluegreen import BlueGreen

COLOR = "ops-pipelines.io/color"
"""Label of what runs beside: `green`."""
RELEASE = "ops-pipelines.io/release"
"""Label of what was made for a move: the release that it is of."""
TRAFFIC = "ops-pipelines.io/traffic"
"""Label of a Service that does not send where its chart says. Its EndpointSlices get it too, which is how it is known
that they are those of the new selector."""
HASH = "pod-template-hash"
GREEN = "green"
_LONGEST = 57
_CONFIG = {"configMap": "ConfigMap", "configMapRef": "ConfigMap", "configMapKeyRef": "ConfigMap"}
_SECRET = {"secret": "Secret", "secretRef": "Secret", "secretKeyRef": "Secret"}
_KINDS = {**_CONFIG, **_SECRET}

Thing = tuple[str, str]
"""Kind and name."""


@dataclass(frozen=True)
class Side:
    """One component's Deployment and the Services that send to it, as some version of its chart has them."""

    deployment: Object
    services: tuple[Object, ...]
    configs: tuple[Object, ...]
    """ConfigMaps and Secrets of the chart that its pods use."""

    @property
    def name(self) -> str:
        """Name of the Deployment."""
        return name_of(self.deployment)


def name_of(found: Object) -> str:
    """Name of an object."""
    return str((found.get("metadata") or {}).get("name", ""))


def green_name(name: str) -> str:
    """Name of what stands beside a Deployment, ConfigMap or Secret."""
    return f"{name[:_LONGEST]}-{GREEN}"


def side_of(objects: Iterable[Object], deployment: str) -> Side | None:
    """A Deployment of a release with what belongs to it; None where the release has none of that name."""
    every = list(objects)
    found = [one for one in every if one.get("kind") == "Deployment" and name_of(one) == deployment]
    if not found:
        return None
    used = references(pod_template(found[0]))
    return Side(
        found[0],
        tuple(one for one in every if one.get("kind") == "Service" and sends_to(one, found[0])),
        tuple(one for one in every if (str(one.get("kind")), name_of(one)) in used),
    )


def sends_to(service: Object, workload: Object) -> bool:
    """Whether a Service's selector takes a workload's pods."""
    wanted = (service.get("spec") or {}).get("selector") or {}
    labels = (pod_template(workload).get("metadata") or {}).get("labels") or {}
    return bool(wanted) and all(labels.get(key) == value for key, value in wanted.items())


def references(template: Object) -> frozenset[Thing]:
    """ConfigMaps and Secrets that a pod takes variables or files from."""
    return frozenset(_named(template.get("spec") or {}))


def _named(value: Any) -> Iterator[Thing]:
    if isinstance(value, Mapping):
        for key, one in value.items():
            if key in _KINDS and isinstance(one, Mapping):
                name = one.get("secretName") or one.get("name")
                if name:
                    yield _KINDS[key], str(name)
            yield from _named(one)
    elif isinstance(value, list):
        for one in value:
            yield from _named(one)


def _renamed(value: Any, names: Mapping[Thing, str]) -> Any:
    if isinstance(value, list):
        return [_renamed(one, names) for one in value]
    if not isinstance(value, Mapping):
        return value
    made = {key: _renamed(one, names) for key, one in value.items()}
    for key, kind in _KINDS.items():
        one = made.get(key)
        if isinstance(one, dict):
            word = "secretName" if "secretName" in one else "name"
            if (kind, str(one.get(word))) in names:
                one[word] = names[kind, str(one[word])]
    return made


def greens(side: Side, release: str, replicas: int, changed: Collection[Thing]) -> tuple[dict[str, Any], ...]:
    """What is made for the new version beside: copies of the ConfigMaps and Secrets that it changes, as the old version
    still uses those, then its Deployment."""
    names = {
        thing: green_name(thing[1])
        for one in side.configs
        if (thing := (str(one["kind"]), name_of(one))) in changed
    }
    marks = {COLOR: GREEN, RELEASE: release}
    made = [
        {**one, "metadata": {"name": names[thing], "labels": marks}}
        for one in side.configs
        if (thing := (str(one["kind"]), name_of(one))) in names
    ]
    spec = copy.deepcopy(dict(side.deployment["spec"]))
    template = _renamed(spec["template"], names)
    template["metadata"] = _labelled(template.get("metadata") or {}, {COLOR: GREEN})
    selector = spec.get("selector") or {}
    spec |= {
        "replicas": max(1, replicas),
        "template": template,
        "selector": {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), COLOR: GREEN}},
    }
    labels = {**((side.deployment.get("metadata") or {}).get("labels") or {}), **marks}
    labels.pop("app.kubernetes.io/managed-by", None)
    beside = {**side.deployment, "metadata": {"name": green_name(side.name), "labels": labels}, "spec": spec}
    return (*made, beside)


def _labelled(meta: Object, labels: Mapping[str, str]) -> dict[str, Any]:
    return {**meta, "labels": {**(meta.get("labels") or {}), **labels}}


def pointed(service: Object, extra: Mapping[str, str]) -> dict[str, Any]:
    """A Service that sends only to those of its pods that have `extra` labels; without any, as its chart has it."""
    made = copy.deepcopy(dict(service))
    if extra:
        made["metadata"] = _labelled(made["metadata"], {TRAFFIC: mark(extra)})
        made["spec"]["selector"] = {**made["spec"]["selector"], **extra}
    return made


def mark(extra: Mapping[str, str]) -> str:
    """How a Service that is pointed so is labelled."""
    return "-".join(extra.values())


def with_replicas(deployment: Object, replicas: int) -> dict[str, Any]:
    """A Deployment with as many pods."""
    return {**deployment, "spec": {**deployment["spec"], "replicas": replicas}}


def drains_first(deployment: Object) -> bool:
    """Whether its old pods end before new ones start, as its chart says."""
    strategy = (deployment.get("spec") or {}).get("strategy") or {}
    surge = str((strategy.get("rollingUpdate") or {}).get("maxSurge", ""))
    return strategy.get("type") == "Recreate" or surge in ("0", "0%")


def against(side: Side, live: Object, objects: Iterable[Object], services: Iterable[Object]) -> str:
    """Why a component cannot get a new version beside, as its objects show it; '' where it can.

    `live` is its Deployment as it stands, `services` all of the namespace."""
    if not side.services:
        return "no Service of the release sends to it"
    ours = {name_of(one) for one in side.services}
    stranger = next(
        (name_of(one) for one in services if sends_to(one, live) and name_of(one) not in ours), None
    )
    if stranger is not None:
        return f"Service {stranger}, which the release would not move, sends to its pods too"
    for one in objects:
        if one.get("kind") in ("Deployment", "StatefulSet", "DaemonSet") and name_of(one) != side.name:
            shared = [name_of(service) for service in side.services if sends_to(service, one)]
            if shared:
                return f"Service {shared[0]} sends to {name_of(one)} too"
    if next((one for one in side.services if (one["spec"].get("publishNotReadyAddresses"))), None):
        return "a Service of it sends to pods that are not ready (publishNotReadyAddresses)"
    return ""


def is_renewed(live: Object | None, after: Object | None) -> bool:
    """Whether what is applied makes a Deployment's pods anew."""
    if live is None or after is None:
        return False
    return bool((live.get("spec") or {}).get("template") != (after.get("spec") or {}).get("template"))


def with_moves(plan: Plan, moves: Mapping[str, tuple[Side, BlueGreen]], notes: Sequence[str] = ()) -> Plan:
    """The plan of a deploy in which `moves` go beside, not instead. `notes` are added to its warnings."""
    first: list[Step] = []
    last: list[Step] = []
    for component, (side, rule) in moves.items():
        green, old, new = f"component/{component}-{GREEN}", side.name, green_name(side.name)
        first.append(
            Step("create", green, f"Deployment/{new}, the new version, asked before anybody else asks")
        )
        first += [Step("switch", f"Service/{name_of(one)}", f"{old} -> {new}") for one in side.services]
        words = (
            f"for {rule.watch:g} s at most {rule.errors:.2%} of at least {rule.requests} requests may fail, by "
            f"{rule.readings.kind}; else, or where that is unknown, back to {old}"
        )
        first.append(Step("check", f"traffic/{component}", words))
        last += [
            Step("switch", f"Service/{name_of(one)}", f"{new} -> {old}, which is the new version by then")
            for one in side.services
        ]
        words = f"once its last requests have ended, {rule.drain:g} s later"
        last.append(Step("remove", green, words))
    return replace(plan, steps=(*first, *plan.steps, *last), warnings=(*plan.warnings, *notes))
