"""Volume claims behind a path of a workload's pods, and how a pod beside them has to look."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from ops_pipelines.policy.compose_plan import Behind, Mount, behind
from ops_pipelines.policy.kube_objects import Object, pod_template
from ops_pipelines.policy.kube_replicas import claims_of

TOP = "volume"
"""Name under which a claim is mounted in a Job."""
_LIVING = ("Pending", "Running")


@dataclass(frozen=True)
class Elsewhere:
    """A path that lies in something that no Job can mount beside the pod."""

    kind: str
    """`emptyDir`, `hostPath`, ..."""


def claims_behind(workload: Object, path: str, replicas: int) -> tuple[Behind, ...] | Elsewhere | None:
    """What lies behind a path in each replica's pod: the claim as the volume, the path below its top as the inner one.

    None where no container mounts anything there. `{replica}` in the path is the replica's number."""
    found: list[Behind] = []
    for number in range(replicas):
        inside = PurePosixPath(path.replace("{replica}", str(number)))
        one = behind(inside, _mounts(workload, number))
        if one is None:
            return None
        if not one.volume:
            return Elsewhere(one.root)
        found.append(one)
    return tuple(found)


def _mounts(workload: Object, replica: int) -> list[Mount]:
    """What the pod of a replica mounts; what is no claim has its kind as its source, and no name."""
    sources = dict(_sources(workload, replica))
    found = []
    for container in (pod_template(workload).get("spec") or {}).get("containers") or ():
        for one in container.get("volumeMounts") or ():
            kind, claim = sources.get(str(one["name"]), ("", ""))
            below = str(one.get("subPath") or "")
            source = str(PurePosixPath(f"/{claim}") / below) if claim else kind
            found.append(Mount(str(one["mountPath"]), source, claim))
    return found


def _sources(workload: Object, replica: int) -> Iterator[tuple[str, tuple[str, str]]]:
    """Name of a pod's volume -> (its kind, its claim's name)."""
    spec = workload.get("spec") or {}
    for one in (pod_template(workload).get("spec") or {}).get("volumes") or ():
        kind = next((str(word) for word in one if word != "name"), "")
        yield str(one["name"]), (kind, str((one.get("persistentVolumeClaim") or {}).get("claimName") or ""))
    first = int((spec.get("ordinals") or {}).get("start") or 0)
    for one in spec.get("volumeClaimTemplates") or ():
        name = str(one["metadata"]["name"])
        yield name, ("claim", f"{name}-{workload['metadata']['name']}-{first + replica}")


def missing_claims(
    objects: Iterable[Object], wanted: Sequence[str], release: str, namespace: str
) -> tuple[dict[str, Any], ...]:
    """The claims of these names, as Helm and a StatefulSet would make them: both take such a one for their own."""
    made: dict[str, dict[str, Any]] = {}
    for one in objects:
        if one.get("kind") == "PersistentVolumeClaim":
            made[str(one["metadata"]["name"])] = dict(one)
        for template in (one.get("spec") or {}).get("volumeClaimTemplates") or ():
            name, labels = str(template["metadata"]["name"]), template["metadata"].get("labels") or {}
            chosen = ((one["spec"].get("selector") or {}).get("matchLabels")) or {}
            for claim in wanted:
                if claim.startswith(f"{name}-{one['metadata']['name']}-"):
                    made[claim] = {"metadata": {"labels": {**chosen, **labels}}, "spec": template["spec"]}
    return tuple(_claim(made[name], name, release, namespace) for name in wanted if name in made)


def _claim(found: Mapping[str, Any], name: str, release: str, namespace: str) -> dict[str, Any]:
    meta = found.get("metadata") or {}
    notes = {"meta.helm.sh/release-name": release, "meta.helm.sh/release-namespace": namespace}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": name,
            "labels": {**(meta.get("labels") or {}), "app.kubernetes.io/managed-by": "Helm"},
            "annotations": {**(meta.get("annotations") or {}), **notes},
        },
        "spec": found["spec"],
    }


def node_of(claims: Iterable[Object], pods: Iterable[Object]) -> str:
    """The node on which a Job has to run, because a pod there holds one of the claims; empty: any.

    Raises ValueError, with the pod's name, where a pod holds one so that nobody else can (ReadWriteOncePod)."""
    modes = {str(one["metadata"]["name"]): (one.get("spec") or {}).get("accessModes") or () for one in claims}
    for pod in pods:
        held = set(claims_of(pod)) & set(modes)
        if not held or str((pod.get("status") or {}).get("phase")) not in _LIVING:
            continue
        if any("ReadWriteOncePod" in modes[name] for name in held):
            raise ValueError(str(pod["metadata"]["name"]))
        if any(not {"ReadWriteMany", "ReadOnlyMany"} & set(modes[name]) for name in held):
            node = str((pod.get("spec") or {}).get("nodeName") or "")
            if node:
                return node
    return ""
