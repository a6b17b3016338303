"""Which GPU nodes take the pods of a release: free cards of NVIDIA, AMD and Intel, and the memory of each.

Labels are those of GPU feature discovery (github.com/NVIDIA/k8s-device-plugin, docs/gpu-feature-discovery), of AMD's
node labeller and of Intel's NFD rules. The scheduler counts cards and knows nothing of their memory; this does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ops_pipelines.policy.kube_objects import Key, Object, is_hook, key_of, pod_template
from ops_pipelines.policy.plan import Finding
from ops_pipelines.policy.words import size_in_words

_CARD = re.compile(r"^(nvidia\.com/(gpu(\.shared)?|mig-.+)|amd\.com/gpu|gpu\.intel\.com/(i915|xe))$")
_MIG = re.compile(r"^nvidia\.com/mig-(\d+)g\.(\d+)gb")
_NUMBER = re.compile(r"^([0-9.]+)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$")
_UNITS = {
    None: 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50,
}  # fmt: skip


def amount(value: Any) -> float:
    """A quantity of Kubernetes as a number: `500m` is 0.5, `2Gi` is 2147483648; 0 for what is none."""
    found = _NUMBER.match(str(value))
    return float(found[1]) * _UNITS[found[2]] if found else 0.0


@dataclass(frozen=True)
class Wanted:
    """Pods of one workload that ask for cards."""

    subject: str
    resource: str
    cards: int
    """Of each pod."""
    pods: int
    memory: int | None
    """Bytes that each pod takes on each of its cards, where the declaration says so."""
    template: Object


@dataclass
class Node:
    """One node, as far as cards go."""

    name: str
    labels: Mapping[str, str]
    taints: Sequence[Mapping[str, Any]]
    free: dict[str, int]
    whole: dict[str, int]


def cards_asked(template: Object) -> Iterator[tuple[str, int]]:
    """(resource, how many) of the cards that one pod asks for."""
    count: dict[str, int] = {}
    for container in (template.get("spec") or {}).get("containers") or ():
        for name, value in ((container.get("resources") or {}).get("limits") or {}).items():
            if _CARD.match(name):
                count[name] = count.get(name, 0) + int(amount(value))
    return iter((name, value) for name, value in count.items() if value)


def wanted_of(objects: Iterable[Object], namespace: str, memory: Mapping[Key, int]) -> tuple[Wanted, ...]:
    """Every workload of a release that asks for cards. `memory`: bytes that each of its pods takes, where
    declared."""
    found = []
    for one in objects:
        template = pod_template(one)
        if is_hook(one) or not template:
            continue
        count = (one.get("spec") or {}).get("replicas")
        pods = 1 if count is None else int(count)
        key = key_of(one, namespace)
        found += [
            Wanted(str(key), name, cards, pods, memory.get(key), template)
            for name, cards in cards_asked(template)
        ]
    return tuple(found)


def nodes_of(nodes: Sequence[Object], pods: Sequence[Object], ours: Iterable[str]) -> list[Node]:
    """Nodes that can be used, with what pods that are not `ours` (by uid) leave free on them."""
    mine, used = set(ours), dict[str, dict[str, int]]()
    for pod in pods:
        where = str((pod.get("spec") or {}).get("nodeName") or "")
        ended = str((pod.get("status") or {}).get("phase")) in ("Succeeded", "Failed")
        if not where or ended or (pod.get("metadata") or {}).get("uid") in mine:
            continue
        for name, count in cards_asked(pod):
            held = used.setdefault(where, {})
            held[name] = held.get(name, 0) + count
    found = []
    for node in nodes:
        meta, spec = node["metadata"], node.get("spec") or {}
        conditions = (node.get("status") or {}).get("conditions") or ()
        ready = any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)
        if spec.get("unschedulable") or not ready:
            continue
        has = (node.get("status") or {}).get("allocatable") or {}
        whole = {name: int(amount(value)) for name, value in has.items() if _CARD.match(name)}
        held = used.get(str(meta["name"]), {})
        free = {name: count - held.get(name, 0) for name, count in whole.items()}
        found.append(Node(str(meta["name"]), meta.get("labels") or {}, spec.get("taints") or (), free, whole))
    return found


def card_findings(wanted: Sequence[Wanted], nodes: Sequence[Node]) -> Iterator[Finding]:
    """Whether a node takes each pod, largest first, each placed where the fewest cards stay free."""
    for one in sorted(wanted, key=lambda each: -each.cards):
        subject = f"cards/{one.subject}"
        fits = [node for node in nodes if one.resource in node.whole and _allowed(node, one.template)]
        what = f"{one.pods} x {one.cards} {one.resource}"
        if not fits:
            have = sorted({name for node in nodes for name in node.whole})
            closed = [node.name for node in nodes if one.resource in node.whole]
            words = (
                f"{what} asked for, and no node has any"
                if not closed
                else (
                    f"{what} asked for, and the nodes that have them ({', '.join(closed[:5])}) do not take it: "
                    "nodeSelector or taints"
                )
            )
            remedy = f"the cluster has: {', '.join(have) or 'no cards'}; correct resources, nodeSelector or tolerations"
            yield Finding(subject, False, words, remedy)
            continue
        roomy = [node for node in fits if _room(node, one)]
        if not roomy:
            most = max((_memory_of(node, one.resource) or 0 for node in fits), default=0)
            asked = size_in_words(one.memory or 0)
            words = f"{asked} are declared for each card, and the largest has {size_in_words(most)}"
            if any(_shared(node) > 1 for node in fits):
                words += ", which time slicing shares out without keeping pods apart"
            yield Finding(
                subject, False, words, "take a smaller model, a larger card, or fewer pods on a card"
            )
            continue
        placed = sum(_place(roomy, one) for _ in range(one.pods))
        if placed < one.pods:
            free = sum(max(0, node.free[one.resource]) for node in roomy)
            words = f"{what} asked for; {placed} of {one.pods} pods find a node ({free} more cards are free)"
            yield Finding(subject, False, words, "free cards, add a GPU node, or ask for fewer replicas")
        else:
            yield Finding(subject, True, f"{what}: every pod finds a node")


def _place(nodes: Sequence[Node], wanted: Wanted) -> int:
    able = [node for node in nodes if node.free[wanted.resource] >= wanted.cards]
    if not able:
        return 0
    tightest = min(able, key=lambda node: node.free[wanted.resource])
    tightest.free[wanted.resource] -= wanted.cards
    return 1


def _room(node: Node, wanted: Wanted) -> bool:
    """Whether a card has the memory that a pod takes; unknown is not refused, as nobody says so."""
    memory = _memory_of(node, wanted.resource)
    if wanted.memory is None or memory is None:
        return True
    return wanted.memory <= memory / max(1, _shared(node))


def _shared(node: Node) -> int:
    text = node.labels.get("nvidia.com/gpu.replicas", "1")
    return int(text) if text.isdecimal() else 1


def _memory_of(node: Node, resource: str) -> int | None:
    """Bytes of one card, or of one slice of MIG; None where no label says so."""
    slice_ = _MIG.match(resource)
    if slice_:
        return int(slice_[2]) * 2**30
    for label, unit in (
        ("nvidia.com/gpu.memory", 2**20),
        ("gpu.intel.com/memory.max", 1),
        ("amd.com/gpu.vram", 0),
    ):
        text = node.labels.get(label) or node.labels.get(f"beta.{label}")
        if text:
            return (
                int(text) * unit
                if unit and text.isdecimal()
                else int(amount(re.sub(r"([KMGT])$", r"\1i", text)))
            )
    return None


def _allowed(node: Node, template: Object) -> bool:
    spec = template.get("spec") or {}
    selector: Mapping[str, str] = spec.get("nodeSelector") or {}
    if any(node.labels.get(name) != value for name, value in selector.items()):
        return False
    tolerations = spec.get("tolerations") or ()
    return all(
        taint.get("effect") == "PreferNoSchedule" or any(_tolerates(one, taint) for one in tolerations)
        for taint in node.taints
    )


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if not toleration.get("key"):
        return toleration.get("operator") == "Exists"
    if toleration["key"] != taint.get("key"):
        return False
    return toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.get("value", "")
