"""A one-off Job beside a volume: its manifests. What it is told, secrets included, is a Secret that goes with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ops_pipelines.policy.kube_objects import Object
from ops_pipelines.policy.one_off import OneOff

CONTAINER = "data"
_SCRATCH = "/tmp"  # noqa: S108 - inside the container
_RIGHTS = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID")
"""What root needs to read and write back files of any owner; everything else is dropped."""
_KEPT = 3600
"""Seconds after which the cluster removes one that nobody removed."""


@dataclass(frozen=True)
class Beside:
    """The pod that a Job's pod is to stand beside."""

    template: Object
    """Template of the workload whose volume it is: where it may run, and as whom."""
    node: str = ""
    """Node on which the volume is held; empty: any that the volume allows."""
    account: str = "default"
    home: str = "/var/lib/ops-pipelines"
    within: int = 24 * 3600
    """Seconds after which the cluster ends it."""


def job(spec: OneOff, beside: Beside, namespace: str) -> dict[str, Any]:
    """The Job; it is tried once."""
    pod = beside.template.get("spec") or {}
    user = _user(beside.template)
    claims = dict.fromkeys(one.source for one in spec.mounts)
    names = {claim: f"claim-{number}" for number, claim in enumerate(claims)}
    mounts: list[dict[str, Any]] = [
        {"name": names[one.source], "mountPath": one.target, **({"readOnly": True} if one.read_only else {})}
        for one in spec.mounts
    ]
    container = {
        "name": CONTAINER,
        "image": spec.image,
        "args": list(spec.command),
        "envFrom": [{"secretRef": {"name": spec.name}}],
        "resources": {
            "requests": {"cpu": "100m", "memory": str(min(spec.memory, 256 * 1024**2))},
            "limits": {"cpu": f"{int(spec.cpus * 1000)}m", "memory": str(spec.memory)},
        },
        "securityContext": _context(user),
        "volumeMounts": [
            *mounts,
            {"name": "scratch", "mountPath": _SCRATCH},
            {"name": "home", "mountPath": beside.home},
        ],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    shared = {
        key: pod[key]
        for key in ("nodeSelector", "tolerations", "imagePullSecrets", "priorityClassName")
        if pod.get(key)
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": spec.name, "namespace": namespace, "labels": dict(spec.labels)},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": beside.within,
            "ttlSecondsAfterFinished": _KEPT,
            "template": {
                "metadata": {"labels": dict(spec.labels)},
                "spec": {
                    **shared,
                    **_where(beside),
                    "restartPolicy": "Never",
                    "serviceAccountName": beside.account,
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "securityContext": _pod_context(beside.template, user),
                    "containers": [container],
                    "volumes": [
                        *(
                            {"name": names[claim], "persistentVolumeClaim": {"claimName": claim}}
                            for claim in claims
                        ),
                        {"name": "scratch", "emptyDir": {}},
                        {"name": "home", "emptyDir": {}},
                    ],
                },
            },
        },
    }


def secret(spec: OneOff, namespace: str) -> dict[str, Any]:
    """What the Job's container is told by its environment."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": spec.name, "namespace": namespace, "labels": dict(spec.labels)},
        "immutable": True,
        "stringData": dict(spec.environ),
    }


def owned_by(made: Mapping[str, Any]) -> dict[str, Any]:
    """A patch by which an object goes when the Job does."""
    meta = made["metadata"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"]}
    return {"metadata": {"ownerReferences": [owner]}}


def _user(template: Object) -> int | None:
    """User that the workload's pods run as; None where only their image knows, and files may be of anybody."""
    spec = template.get("spec") or {}
    places = [one.get("securityContext") or {} for one in spec.get("containers") or ()]
    for one in (*places, spec.get("securityContext") or {}):
        if isinstance(one.get("runAsUser"), int):
            return int(one["runAsUser"])
    return None


def _context(user: int | None) -> dict[str, Any]:
    if user:
        who: dict[str, Any] = {"runAsUser": user, "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]}}
    else:
        who = {"runAsUser": 0, "capabilities": {"drop": ["ALL"], "add": list(_RIGHTS)}}
    return {
        **who,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _pod_context(template: Object, user: int | None) -> dict[str, Any]:
    """The groups of the workload's pods. The volume's owner is changed by nobody, so `fsGroup` is only looked at where
    the top differs."""
    found = (template.get("spec") or {}).get("securityContext") or {}
    names = ("runAsGroup", "fsGroup", "supplementalGroups", "seLinuxOptions")
    kept = {name: found[name] for name in names if name in found}
    if not user:
        kept.pop("runAsGroup", None)
    return {**kept, "fsGroupChangePolicy": "OnRootMismatch"}


def _where(beside: Beside) -> dict[str, Any]:
    """Beside the pod that holds the volume; else where the workload's own pods may run."""
    if beside.node:
        named = {"key": "metadata.name", "operator": "In", "values": [beside.node]}
        terms = {"nodeSelectorTerms": [{"matchFields": [named]}]}
        return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}
    affinity = ((beside.template.get("spec") or {}).get("affinity") or {}).get("nodeAffinity")
    return {"affinity": {"nodeAffinity": affinity}} if affinity else {}
