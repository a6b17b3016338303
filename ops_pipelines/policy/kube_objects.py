"""Kubernetes objects as plain mappings: who they are, which component they are of, what of them is secret."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Object = Mapping[str, Any]

COMPONENT_LABEL = "app.kubernetes.io/component"
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")
"""Kinds that keep pods running."""
HOOK = "helm.sh/hook"
KEEP = "helm.sh/resource-policy"
CLUSTER_WIDE = frozenset(
    {
        "Namespace", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "PersistentVolume",
        "StorageClass", "PriorityClass", "IngressClass", "RuntimeClass", "ValidatingWebhookConfiguration",
        "MutatingWebhookConfiguration", "ValidatingAdmissionPolicy", "VolumeSnapshotClass", "DeviceClass",
        "NodePool", "NodeClass", "EC2NodeClass", "ClusterSecretStore", "ClusterIssuer",
    }
)  # fmt: skip
"""Kinds that have no namespace, for those whose API could not be asked."""
_SECRET_NAME = re.compile(
    r"PASS(WORD|WD|PHRASE)?(_|$)|PWD$|SECRET|TOKEN|CREDENTIAL|SALT|(API|ACCESS|PRIVATE|ENCRYPTION|MASTER|AUTH)_?KEY|"
    r"_KEY$|_DSN$|DATABASE_URL$",
    re.IGNORECASE,
)


@dataclass(frozen=True, order=True)
class Key:
    """Who an object is, whatever version of its API it is written in."""

    group: str
    kind: str
    namespace: str
    """Empty for what has none."""
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


def key_of(found: Object, namespace: str) -> Key:
    """Key of an object of a release in `namespace`."""
    group, _, version = str(found.get("apiVersion", "")).rpartition("/")
    kind, meta = str(found.get("kind", "")), found.get("metadata") or {}
    del version
    where = "" if kind in CLUSTER_WIDE else str(meta.get("namespace") or namespace)
    return Key(group, kind, where, str(meta.get("name", "")))


def laid_out(documents: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """The objects of documents: lists laid out, empty ones left out."""
    for one in documents:
        if not isinstance(one, dict):
            continue
        if str(one.get("kind", "")).endswith("List") and isinstance(one.get("items"), list):
            yield from laid_out(one["items"])
        elif one.get("kind") and one.get("apiVersion"):
            yield one


def annotation(found: Object, name: str) -> str:
    """One annotation; empty where it has none."""
    return str(((found.get("metadata") or {}).get("annotations") or {}).get(name, ""))


def label(found: Object, name: str) -> str:
    """One label; empty where it has none."""
    return str(((found.get("metadata") or {}).get("labels") or {}).get(name, ""))


def is_hook(found: Object) -> bool:
    """Whether Helm starts it by itself at some step, and it is no part of what runs."""
    return bool(annotation(found, HOOK))


def is_kept(found: Object) -> bool:
    """Whether Helm leaves it where it is when it is no longer wanted."""
    return annotation(found, KEEP) == "keep"


def workloads_of(
    objects: Iterable[Object], components: Iterable[str], mapped: Mapping[str, str], namespace: str
) -> dict[str, Key]:
    """Component -> the workload that runs it; components that have none are left out.

    `mapped` is component -> `Kind/name`, as declared. Else a label names the component, else the workload's name is the
    component's or ends with it."""
    found = [
        (key_of(one, namespace), label(one, COMPONENT_LABEL))
        for one in objects
        if one.get("kind") in WORKLOADS and not is_hook(one)
    ]
    chosen = {name: _workload(name, mapped.get(name), found) for name in components}
    return {name: key for name, key in chosen.items() if key is not None}


def _workload(component: str, mapped: str | None, found: Sequence[tuple[Key, str]]) -> Key | None:
    if mapped is not None:
        return next((key for key, _ in found if str(key) == mapped), None)
    for fits in (
        [key for key, labelled in found if labelled == component],
        [key for key, _ in found if key.name == component],
        [key for key, _ in found if key.name.endswith(f"-{component}")],
    ):
        if fits:
            return fits[0]
    return None


def pod_template(found: Object) -> Mapping[str, Any]:
    """The pod that a workload, Job or CronJob makes; empty for anything else."""
    spec = found.get("spec") or {}
    if found.get("kind") == "Pod":
        return found
    if found.get("kind") == "CronJob":
        spec = (spec.get("jobTemplate") or {}).get("spec") or {}
    template: Mapping[str, Any] = spec.get("template") or {}
    return template if isinstance(template, Mapping) else {}


def containers_of(template: Object) -> tuple[Mapping[str, Any], ...]:
    """Containers of a pod, those that run before the others included."""
    spec = template.get("spec") or {}
    return (*(spec.get("initContainers") or ()), *(spec.get("containers") or ()))


def images_of(objects: Iterable[Object]) -> tuple[str, ...]:
    """Images that pods of these objects run, each once."""
    found = (str(one.get("image", "")) for each in objects for one in containers_of(pod_template(each)))
    return tuple(dict.fromkeys(one for one in found if one))


def replicas_of(workload: Object) -> int | None:
    """Replicas that a workload asks for; None where it leaves that to somebody else, or has no number."""
    found = (workload.get("spec") or {}).get("replicas")
    return int(found) if isinstance(found, int) else None


@dataclass(frozen=True)
class Hidden:
    """The value of a secret, which can be compared and not be seen."""

    value: Any = field(repr=False)

    def __str__(self) -> str:
        return "***"


def masked(found: Object) -> dict[str, Any]:
    """The object with the values of its secrets hidden, so that a change still shows."""
    one = dict(found)
    if one.get("kind") == "Secret":
        for part in ("data", "stringData"):
            if isinstance(one.get(part), Mapping):
                one[part] = {name: Hidden(value) for name, value in one[part].items()}
        if "metadata" in one:
            one["metadata"] = _without_last_applied(one["metadata"])
        return one
    hidden: dict[str, Any] = _hide_environment(one)
    return hidden


def _without_last_applied(meta: Mapping[str, Any]) -> dict[str, Any]:
    notes = {k: v for k, v in (meta.get("annotations") or {}).items() if "last-applied" not in k}
    return {**meta, "annotations": notes}


def _hide_environment(value: Any) -> Any:
    """The same with the values of variables that have the name of a secret replaced."""
    if isinstance(value, Mapping):
        name, text = value.get("name"), value.get("value")
        if isinstance(name, str) and isinstance(text, str) and text and _SECRET_NAME.search(name):
            return {**value, "value": Hidden(text)}
        return {key: _hide_environment(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_hide_environment(one) for one in value]
    return value
