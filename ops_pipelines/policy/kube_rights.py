"""The rights that target `kubernetes` needs of a cluster: one table, for the preflight, the reference and the Roles.

`docs/reference/kubernetes-rights.md` is written from it; a preflight asks the API server for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MANAGE = ("create", "delete", "get", "list", "patch", "update", "watch")
"""What Helm does with each kind that a chart makes; it watches what its hooks start."""


@dataclass(frozen=True)
class Right:
    """Verbs on one resource."""

    group: str
    resource: str
    """`pods`, `pods/log`."""
    verbs: tuple[str, ...]
    why: str
    wide: bool = False
    """Of the whole cluster, and not of the release's namespace alone."""
    needed: bool = True
    """Without it nothing can be deployed; else only what it is for is left out, and said."""


FIXED = (
    Right("", "secrets", MANAGE, "Helm keeps its records in them; charts make some"),
    Right("", "pods", ("delete", "get", "list", "watch"), "watched; one that holds a rollout up is removed"),
    Right("", "pods", ("create",), "asked whether the namespace would take each pod (nothing is made)", needed=False),
    Right("", "pods/log", ("get",), "the end of the log of what did not start; `logs`"),
    Right("", "pods/proxy", ("create", "get"), "asking servers from outside: models, smoke test", needed=False),
    Right("", "events", ("list",), "why a pod does not start"),
    Right("", "persistentvolumeclaims", ("delete", "get", "list"), "kept, or removed by `down --volumes`"),
    Right("", "configmaps", ("get", "list"), "whether those that pods read are there"),
    Right("", "serviceaccounts", ("get", "list"), "whether those that pods run as are there"),
    Right("apps", "deployments", ("get", "list", "patch"), "watched; brought to no pods while data is put back"),
    Right("apps", "statefulsets", ("get", "list", "patch"), "the same"),
    Right("apps", "daemonsets", ("get", "list"), "watched"),
    Right("apps", "replicasets", ("list",), "which pods are of the newest version"),
    Right("", "services", ("get", "list"), "whether a killed blue-green deploy left one with other pods"),
    Right("", "services", ("patch",), "blue-green: their selectors move the traffic", needed=False),
    Right("discovery.k8s.io", "endpointslices", ("list",), "blue-green: which pods they lead to", needed=False),
    Right("apps", "deployments", ("create", "delete"), "blue-green: the new version beside the old", needed=False),
    Right("", "configmaps", ("create", "delete", "patch"), "blue-green: what it reads, copied", needed=False),
    Right("batch", "jobs", ("get", "list"), "watched"),
    Right("batch", "jobs", ("create", "delete"), "caches and volumes are read and put back by Jobs", needed=False),
    Right("", "persistentvolumeclaims", ("create",), "a migration fills claims before the deploy", needed=False),
    Right("autoscaling", "horizontalpodautoscalers", ("list",), "who decides on replicas"),
    Right("", "resourcequotas", ("list",), "whether what is asked for fits", needed=False),
    Right("", "namespaces", ("get",), "whether it is there, and its PodSecurity level", wide=True),
    Right("", "namespaces", ("create", "patch"), "only where a deploy is to make it", wide=True, needed=False),
    Right("", "nodes", ("list",), "free cards, and their memory", wide=True, needed=False),
    Right("", "pods", ("list",), "who holds cards", wide=True, needed=False),
    Right("storage.k8s.io", "storageclasses", ("list",), "whether those of claims are there", wide=True, needed=False),
)  # fmt: skip


@dataclass(frozen=True, order=True)
class Asked:
    """One question to the API server (SelfSubjectAccessReview)."""

    group: str
    resource: str
    subresource: str
    verb: str
    namespace: str
    """Empty for the whole cluster."""

    def __str__(self) -> str:
        name = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        full = f"{name}.{self.group}" if self.group else name
        return f"{self.verb} {full}"


def of_kinds(kinds: Iterable[tuple[str, str, bool]]) -> tuple[Right, ...]:
    """Rights for the kinds that a chart makes: (group, resource, whether in a namespace)."""
    return tuple(
        Right(group, resource, MANAGE, "made by the chart", wide=not namespaced)
        for group, resource, namespaced in sorted(set(kinds))
    )


def questions(rights: Iterable[Right], namespace: str) -> dict[Asked, Right]:
    """Each verb as a question; where two rights ask the same, the one that is needed counts."""
    found: dict[Asked, Right] = {}
    for right in rights:
        resource, _, sub = right.resource.partition("/")
        for verb in right.verbs:
            asked = Asked(right.group, resource, sub, verb, "" if right.wide else namespace)
            if asked not in found or right.needed:
                found[asked] = right
    return found


def rules(rights: Iterable[Right], *, wide: bool) -> list[dict[str, Any]]:
    """Rules of a Role (or, `wide`, of a ClusterRole) that give these rights and nothing else."""
    verbs: dict[tuple[str, str], set[str]] = {}
    for right in rights:
        if right.wide == wide:
            verbs.setdefault((right.group, right.resource), set()).update(right.verbs)
    return [
        {"apiGroups": [group], "resources": [resource], "verbs": sorted(each)}
        for (group, resource), each in sorted(verbs.items())
    ]


def missing(answers: Mapping[Asked, bool], asked: Mapping[Asked, Right]) -> Sequence[tuple[Asked, Right]]:
    """Rights that are not there, those that are needed first."""
    found = [(one, right) for one, right in asked.items() if not answers[one]]
    return sorted(found, key=lambda pair: (not pair[1].needed, pair[0]))
