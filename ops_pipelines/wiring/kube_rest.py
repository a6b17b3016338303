"""Workloads that rest while their data is put back: brought to no pods, and back to as many as they had."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ops_pipelines.engines._kube_needs import Object
from ops_pipelines.errors import Refused
from ops_pipelines.policy.kube_objects import label, replicas_of
from ops_pipelines.policy.kube_replicas import claims_of
from ops_pipelines.policy.one_off import STACK_LABEL
from ops_pipelines.wiring.kube_site import KubeSite
from ops_pipelines.wiring.kube_state import names_of, seen
from ops_pipelines.wiring.site import Site

_GONE = 300.0
"""Seconds in which the pods of a workload must have ended."""
_POLL = 0.5
_HALTED = "ops-pipelines.io/halted-at"
"""Annotation of a workload that rests: how many replicas it had."""


def running(site: Site, components: Sequence[str]) -> tuple[str, ...]:
    """Workloads of some components that have or would have pods."""
    here = KubeSite(site)
    found = seen(here)
    names = names_of(here, found)
    return tuple(
        str(one.key)
        for one in found
        if names.get(one.key) in components and one.workload is not None and replicas_of(one.workload) != 0
    )


def _workload(here: KubeSite, name: str) -> Object | None:
    kind, _, rest = name.partition("/")
    return here.cluster.find(f"/apis/apps/v1/namespaces/{here.target.namespace}/{kind.lower()}s/{rest}")


def halt(site: Site, name: str) -> None:
    """Bring one workload to no pods for a while; how many it had is noted on it."""
    here = KubeSite(site)
    kind, _, rest = name.partition("/")
    if kind == "DaemonSet":
        raise Refused(
            f"{name} runs on every node and cannot rest",
            remedy="stop it by hand, restore, and start it again",
        )
    found = _workload(here, name)
    if found is None:
        return
    count = replicas_of(found)
    path = f"/apis/apps/v1/namespaces/{here.target.namespace}/{kind.lower()}s/{rest}"
    if count:
        here.cluster.merge(
            path, {"metadata": {"annotations": {_HALTED: str(count)}}, "spec": {"replicas": 0}}
        )
    _await_no_pods(here, found)


def _await_no_pods(here: KubeSite, workload: Object) -> None:
    """Wait until a workload's pods are gone. Raises Refused where some stay."""
    labels = ((workload.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
    selector = ",".join(f"{name}={value}" for name, value in labels.items())
    end = time.monotonic() + _GONE
    path = f"/api/v1/namespaces/{here.target.namespace}/pods"
    while pods := here.cluster.listed(path, brief=True, labelSelector=selector):
        if time.monotonic() > end:
            names = ", ".join(str(one["metadata"]["name"]) for one in pods)
            raise Refused(f"pods do not end: {names}", remedy="look why: kubectl describe pod")
        time.sleep(_POLL)


def resume(site: Site, name: str) -> bool:
    """Bring a workload that `halt` stopped back to its pods; False where it is not there any more."""
    here = KubeSite(site)
    kind, _, rest = name.partition("/")
    found = _workload(here, name)
    if found is None:
        return False
    noted = (found["metadata"].get("annotations") or {}).get(_HALTED)
    if noted is None:
        return True
    path = f"/apis/apps/v1/namespaces/{here.target.namespace}/{kind.lower()}s/{rest}"
    here.cluster.merge(path, {"metadata": {"annotations": {_HALTED: None}}, "spec": {"replicas": int(noted)}})
    return True


def require_free(site: Site, components: Sequence[str]) -> None:
    """Raise Refused where a pod of somebody else mounts a volume claim of some components."""
    here = KubeSite(site)
    found = seen(here)
    names = names_of(here, found)
    ours = {pod["metadata"]["name"] for one in found for pod in one.every}
    claims = {
        name
        for one in found
        if names.get(one.key) in components
        for pod in one.every
        for name in claims_of(pod)
    }
    pods = here.cluster.listed(f"/api/v1/namespaces/{here.target.namespace}/pods")
    strangers = {
        str(pod["metadata"]["name"]): sorted(claims & set(claims_of(pod)))
        for pod in pods
        if pod["metadata"]["name"] not in ours
        and label(pod, STACK_LABEL) != site.name  # a Job of ours, which has ended or is fenced off
        and claims & set(claims_of(pod))
        and str((pod.get("status") or {}).get("phase")) in ("Pending", "Running")
    }
    if strangers:
        held = "; ".join(f"pod {name} uses {', '.join(each)}" for name, each in strangers.items())
        raise Refused(
            f"what is to be replaced is in use by pods that are not of {site.name}: {held}",
            remedy="stop them first",
        )
