"""Who decides how many pods a workload has, and by which value of a chart; which claims are whose."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from ops_pipelines.policy.kube_objects import Key, Object, label

_INSTANCE = "app.kubernetes.io/instance"


def candidates(component: str, named: Mapping[str, str]) -> tuple[str, ...]:
    """Paths of the values that may say how many replicas a component has, the declared one alone where there is one."""
    if component in named:
        return (named[component],)
    words = re.split(r"[-_]", component)
    camel = words[0] + "".join(word.capitalize() for word in words[1:])
    names = dict.fromkeys((component, camel))
    paths = ("components.{}.replicas", "{}.replicas", "{}.replicaCount")
    return (*(path.format(name) for path in paths for name in names), "replicaCount", "replicas")


def owner_of(key: Key, scalers: Iterable[Object]) -> str | None:
    """What else decides on a workload's replicas: a HorizontalPodAutoscaler, KEDA's included; None: nothing."""
    for one in scalers:
        target = (one.get("spec") or {}).get("scaleTargetRef") or {}
        if target.get("kind") == key.kind and target.get("name") == key.name:
            name = str(one["metadata"]["name"])
            scaled = label(one, "scaledobject.keda.sh/name")
            return f"KEDA's ScaledObject {scaled}" if scaled else f"HorizontalPodAutoscaler {name}"
    return None


def claims_of(pod: Object) -> tuple[str, ...]:
    """Volume claims that a pod mounts."""
    volumes = (pod.get("spec") or {}).get("volumes") or ()
    found = ((one.get("persistentVolumeClaim") or {}).get("claimName") for one in volumes)
    return tuple(str(one) for one in found if one)


def claims_among(there: Sequence[Object], release: str, objects: Sequence[Object]) -> list[str]:
    """Names of the claims of a release among those that are there: those that it applies, those that its StatefulSets
    made, and those that an earlier removal left (they carry the release's name)."""
    own = {str(one["metadata"]["name"]) for one in objects if one.get("kind") == "PersistentVolumeClaim"}
    made = [
        re.compile(rf"{re.escape(claim)}-{re.escape(str(one['metadata']['name']))}-\d+")
        for one in objects
        if one.get("kind") == "StatefulSet"
        for claim in _templates(one)
    ]
    found = []
    for one in there:
        name = str(one["metadata"]["name"])
        noted = ((one["metadata"].get("annotations") or {}).get("meta.helm.sh/release-name")) == release
        labelled = label(one, _INSTANCE) == release
        if name in own or noted or labelled or any(each.fullmatch(name) for each in made):
            found.append(name)
    return sorted(found)


def _templates(workload: Object) -> list[str]:
    claims = (workload.get("spec") or {}).get("volumeClaimTemplates") or ()
    return [str(one["metadata"]["name"]) for one in claims]
