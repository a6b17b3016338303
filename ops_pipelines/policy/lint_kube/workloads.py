"""What runs in the cluster, and keeps what it has loaded."""

from __future__ import annotations

from collections.abc import Iterator

from ops_pipelines.policy.lint_kube.rule import (
    Container,
    Hit,
    KubeRule,
    Objects,
    at,
    containers,
    items,
    look,
    text,
    where,
)
from ops_pipelines.stack.manifests import Table

_PLACES = {
    "ollama": ("/root/.ollama", "/.ollama", "/home/ollama/.ollama"),
    "vllm": ("/root/.cache/huggingface", "/root/.cache"),
    "aphrodite": ("/root/.cache/huggingface", "/root/.cache"),
    "tgi": ("/data",),
}
_HUB = ("/.cache/huggingface", "/.ollama")
_ENOUGH = 600.0
"""Seconds that a model of 70 billion parameters may take from a network disk."""


def bare_pod(objects: Objects) -> Iterator[Hit]:
    """A Pod by itself: nobody starts it again elsewhere, and it can be neither rolled nor scaled.

    One that is to end by itself (restartPolicy Never or OnFailure), or a hook of Helm's, is none."""
    for one in objects:
        hook = any(
            key.startswith("helm.sh/hook")
            for key in (getattr(look(one.root, "metadata", "annotations"), "entries", {}))
        )
        if one.kind == "Pod" and not hook and text(one.root, "spec", "restartPolicy") in ("", "Always"):
            yield Hit(
                one.at,
                where(one),
                "a Pod without a controller",
                "when its node goes, it is gone; it cannot be rolled back or scaled",
                "make it a Deployment or a StatefulSet",
            )


def impatient_liveness(objects: Objects) -> Iterator[Hit]:
    """A liveness probe without a startup probe on a server that loads models: it is killed while it loads.

    It then loads again, and is killed again. A startup probe holds the liveness probe back until it has answered."""
    for one in containers(objects):
        probe = look(one.table, "livenessProbe")
        if (
            one.init
            or not one.loads_models
            or not isinstance(probe, Table)
            or "startupProbe" in one.table.entries
        ):
            continue
        given = _number(probe, "initialDelaySeconds", 0)
        times, every = _number(probe, "failureThreshold", 3), _number(probe, "periodSeconds", 10)
        if given is None or times is None or every is None or given + times * every >= _ENOUGH:
            continue
        patience = times * every
        yield Hit(
            at(one.table, "livenessProbe"),
            f"{one.path}.livenessProbe",
            f"a liveness probe that gives up after {given + patience:.0f} s, and no startup probe",
            "a slow load of a model is killed, and begins again",
            "add a startupProbe on the same path with failureThreshold x periodSeconds of 600 s or more",
        )


def fleeting_cache(objects: Objects) -> Iterator[Hit]:
    """An emptyDir where a model server keeps its models: each new pod fetches all of them again.

    With `medium: Memory` they also count as memory of the container."""
    for one in containers(objects):
        for mount in items(one.table, "volumeMounts"):
            volume = one.volume(text(mount, "name"))
            path = text(mount, "mountPath").rstrip("/")
            if volume is None or "emptyDir" not in volume.entries or not _keeps_models(one, path):
                continue
            yield Hit(
                at(volume, "emptyDir"),
                f"{where(one.of)}.volumes.{text(volume, 'name')}",
                f"an emptyDir at {path}, where models are kept",
                "every restart elsewhere fetches all models again",
                "use a PersistentVolumeClaim (a StatefulSet's volumeClaimTemplates give one to each replica)",
            )


def _keeps_models(one: Container, path: str) -> bool:
    home = one.service.environment
    named = [
        home[name].text.rstrip("/") for name in ("HF_HOME", "HF_HUB_CACHE", "OLLAMA_MODELS") if name in home
    ]
    places = (*_PLACES.get(one.image_kind, ()), *named)
    inside = any(path == place or path.startswith(place + "/") for place in places if place)
    return inside or any(word in path for word in _HUB)


def request_without_limit(objects: Objects) -> Iterator[Hit]:
    """Cards under `requests` alone: Kubernetes refuses the pod, as extended resources need a limit of the same size."""
    for one in containers(objects):
        for card in ("nvidia.com/gpu", "amd.com/gpu"):
            asked = text(one.table, "resources", "requests", card)
            limit = text(one.table, "resources", "limits", card)
            if asked and asked != limit:
                yield Hit(
                    at(one.table, "resources", "requests", card),
                    f"{one.path}.resources",
                    f"{card}: {asked} asked for, and {limit or 'no'} as limit",
                    "the pod is refused",
                    f"set limits of {card} to {asked}",
                )


def no_memory_limit(objects: Objects) -> Iterator[Hit]:
    """A container without a limit on memory: one leak, and the node kills whatever it likes."""
    for one in containers(objects):
        if (
            not one.init
            and one.of.kind not in ("Job", "CronJob")
            and not look(one.table, "resources", "limits", "memory")
        ):
            if one.of.kind == "Pod" or look(one.table, "resources") is None:
                continue  # what a chart leaves to its user, and what C-rules of another kind say
            yield Hit(
                at(one.table, "resources"),
                f"{one.path}.resources",
                "no limit on memory",
                "a leak takes the node's memory, and other pods are evicted",
                "set resources.limits.memory",
                "info",
            )


def _number(probe: Table, key: str, default: float) -> float | None:
    written = text(probe, key)
    if not written:
        return default
    try:
        return float(written)
    except ValueError:
        return None


RULES = (
    KubeRule("OPS-K101", "bare-pod", (23,), bare_pod),
    KubeRule("OPS-K102", "impatient-liveness", (23,), impatient_liveness),
    KubeRule("OPS-K103", "fleeting-cache", (7,), fleeting_cache),
    KubeRule("OPS-K104", "card-without-limit", (13,), request_without_limit),
    KubeRule("OPS-K105", "pod-memory-limit", (30,), no_memory_limit),
)
