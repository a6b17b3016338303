"""What a cluster refuses to become, and the way out: fields that cannot be changed once an object is there."""

from __future__ import annotations

import re

from ops_pipelines.policy.kube_diff import Tried
from ops_pipelines.policy.kube_words import short

_WAYS = (
    (
        r"updates to statefulset spec",
        "a StatefulSet's volume claims, service name and selector are fixed for its life. Its pods and their volumes "
        "outlive it: remove it alone (kubectl -n {namespace} delete statefulset {name} --cascade=orphan), then say it "
        "again; where its claims themselves are to be others (size, class), back up, take it down and restore",
    ),
    (
        r"spec\.selector.*immutable|field is immutable.*selector",
        "the selector of a workload is fixed for its life: remove {kind} {name} (its pods go with it, its claims "
        "stay), then say it again",
    ),
    (
        r"spec is immutable after creation|persistentvolumeclaim",
        "a claim may only grow, and only where its storage class allows it: keep its size and class, or back up, "
        "make a new one and restore into it",
    ),
    (r"spec\.clusterIP.*immutable", "remove Service {name}, then say it again: it gets a new address"),
    (r"spec\.template.*immutable", "a Job runs once as it is: remove Job {name}, then say it again"),
    (r"immutable", "that field is fixed for the life of {kind} {name}: remove it, then say it again"),
    (r"violates PodSecurity", "correct securityContext, or label the namespace with a level that allows it"),
    (r"admission webhook", "do what the webhook asks, or ask whoever runs it"),
    (
        r"being terminated",
        "wait until namespace {namespace} is gone, then deploy again: a deploy makes it anew",
    ),
    (r"exceeded quota", "raise the ResourceQuota of namespace {namespace}, or ask for less"),
    (
        r"does not know",
        "install the CustomResourceDefinitions that the chart needs, or switch off what needs them",
    ),
    (
        r"cannot (get|patch|create)|forbidden",
        "give this user the right (docs/reference/kubernetes-rights.md)",
    ),
)


def refusal(tried: Tried) -> tuple[str, str]:
    """Why the cluster refuses an object, and what mends it."""
    words = short(tried.refused, 500)
    for phrase, way in _WAYS:
        if re.search(phrase, tried.refused, re.IGNORECASE):
            key = tried.key
            return f"is refused: {words}", way.format(kind=key.kind, name=key.name, namespace=key.namespace)
    return f"is refused: {words}", "correct the chart or its values"
