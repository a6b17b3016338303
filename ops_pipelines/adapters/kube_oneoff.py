"""One Job run to its end on a cluster: started, its lines handed on, removed, whatever happens."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

import structlog

from ops_pipelines.adapters.kube import Cluster
from ops_pipelines.errors import ClusterRefused, CommandFailed, Refused, Unreachable
from ops_pipelines.policy import kube_job
from ops_pipelines.policy.kube_job import CONTAINER, Beside
from ops_pipelines.policy.kube_words import pod_fault
from ops_pipelines.policy.one_off import FENCE_LABEL, STACK_LABEL, OneOff, is_stray

log = structlog.get_logger()

_TAIL = 30
_POLL = 0.3
_QUIET = 60.0
"""Seconds without a line after which the pod is looked at."""
_ALL = 2_000_000_000


def run(
    cluster: Cluster, namespace: str, spec: OneOff, beside: Beside, heard: Callable[[str], None], start: float
) -> None:
    """Run a Job to its end; `heard` gets each line that it prints, as it comes. `start`: seconds in which its pod must
    have a node.

    Raises Refused where it cannot start, CommandFailed where it ends badly. It is removed in any case; what is left
    after kill -9 is for `sweep`, and at the latest for the cluster itself."""
    jobs, secrets = _paths(namespace)
    cluster.create(secrets, kube_job.secret(spec, namespace))
    try:
        made = cluster.create(jobs, kube_job.job(spec, beside, namespace))
        cluster.merge(f"{secrets}/{spec.name}", kube_job.owned_by(made))
        pod = _started(cluster, namespace, spec, start)
        tail = _listened(cluster, namespace, spec, pod, heard)
        _judge(cluster.find(_pod(namespace, pod)), spec, tail)
    finally:
        with suppress(Exception):
            cluster.delete(f"{jobs}/{spec.name}")
        with suppress(Exception):
            cluster.delete(f"{secrets}/{spec.name}")


def sweep(cluster: Cluster, namespace: str, stack: str, current: int | None) -> tuple[str, ...]:
    """Remove Jobs, and Secrets of Jobs, of a stack that a killed run left, and return their names."""
    gone: dict[str, None] = {}
    for path in _paths(namespace):
        for one in cluster.listed(path, brief=True, labelSelector=f"{STACK_LABEL}={stack}"):
            meta = one["metadata"]
            age = (cluster.now() - datetime.fromisoformat(str(meta["creationTimestamp"]))).total_seconds()
            if is_stray(str((meta.get("labels") or {}).get(FENCE_LABEL, "")), age, current):
                cluster.delete(f"{path}/{meta['name']}", uid=str(meta["uid"]))
                gone[str(meta["name"])] = None
    for name in gone:
        log.warning("one_off.swept", stack_name=stack, container=name)
    return tuple(gone)


def _paths(namespace: str) -> tuple[str, str]:
    return f"/apis/batch/v1/namespaces/{namespace}/jobs", f"/api/v1/namespaces/{namespace}/secrets"


def _pod(namespace: str, name: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods/{name}"


def _started(cluster: Cluster, namespace: str, spec: OneOff, start: float) -> str:
    """Name of the Job's pod, once its container runs or has ended. Raises Refused, with the cluster's words."""
    begun = time.monotonic()
    while True:
        pods = cluster.listed(f"/api/v1/namespaces/{namespace}/pods", labelSelector=f"job-name={spec.name}")
        if pods and _has_begun(pods[0]):
            return str(pods[0]["metadata"]["name"])
        uid = str(pods[0]["metadata"]["uid"]) if pods else ""
        about = f"involvedObject.uid={uid}" if uid else f"involvedObject.name={spec.name}"
        events = cluster.listed(f"/api/v1/namespaces/{namespace}/events", fieldSelector=about)
        waited = time.monotonic() - begun
        fault = pod_fault(pods[0], events, cluster.now(), start) if pods else None
        if fault is not None and (fault.after is not None or waited > start) and waited >= (fault.after or 0):
            raise Refused(
                f"the Job {spec.name} does not start: {fault.words}", remedy=_remedy(fault.remedy, spec)
            )
        refused = [str(one.get("message", "")) for one in events if one.get("reason") == "FailedCreate"]
        if refused and waited > 5:
            raise Refused(
                f"the Job {spec.name} cannot have a pod: {refused[-1]}",
                remedy="let the namespace take it: its quota, its PodSecurity level, target.data.service_account",
            )
        if waited > max(start, _QUIET) * 5:
            raise Refused(f"the Job {spec.name} has not started", remedy=f"kubectl describe job {spec.name}")
        time.sleep(_POLL)


def _remedy(remedy: str, spec: OneOff) -> str:
    if "image" not in remedy:
        return remedy
    return f"build {spec.image} (`docker build -f deploy/platform/Dockerfile --target data`) and push it, or name another one in `target.data.image`"  # fmt: skip  # noqa: E501


def _status(pod: dict[str, Any]) -> dict[str, Any]:
    found = (pod.get("status") or {}).get("containerStatuses") or ()
    return next((dict(one.get("state") or {}) for one in found if one.get("name") == CONTAINER), {})


def _has_begun(pod: dict[str, Any]) -> bool:
    state = _status(pod)
    phase = str((pod.get("status") or {}).get("phase"))
    return "running" in state or "terminated" in state or phase in ("Failed", "Succeeded")


def _listened(
    cluster: Cluster, namespace: str, spec: OneOff, pod: str, heard: Callable[[str], None]
) -> list[str]:
    """Hand on every line once, over broken connections, until the container has ended. The last lines of text."""
    tail: list[str] = []
    count = 0
    while True:
        ended = _ended(cluster.find(_pod(namespace, pod)))
        number = 0
        try:
            for line in cluster.follow(namespace, pod, CONTAINER, lines=_ALL, follow=True, quiet=_QUIET):
                number += 1
                if number > count:
                    count = number
                    tail = [*tail[-_TAIL:], line]
                    heard(line)
        except (Unreachable, ClusterRefused) as error:
            log.info("one_off.connection_lost", container=spec.name, error=error.message)
        if ended:  # it had, before all that it printed was read
            return tail
        time.sleep(_POLL)


def _ended(pod: dict[str, Any] | None) -> bool:
    return (
        pod is None or "terminated" in _status(pod) or pod["status"].get("phase") in ("Failed", "Succeeded")
    )


def _judge(pod: dict[str, Any] | None, spec: OneOff, tail: list[str]) -> None:
    """Raise CommandFailed where the pod has not ended well."""
    output = "\n".join(one for one in tail if not one.startswith("{"))
    if pod is None:
        raise CommandFailed(
            f"the pod of Job {spec.name} was removed while it was at work", remedy="look who did, and try again",
            output=output,
        )  # fmt: skip
    state = _status(pod).get("terminated") or {}
    if state.get("exitCode") == 0:
        return
    why = str(state.get("reason") or pod["status"].get("reason") or "Error")
    words = {
        "OOMKilled": "was killed: it used more memory than `target.data.memory` gives it",
        "DeadlineExceeded": "was ended by the cluster: it took too long",
        "Evicted": f"was evicted: {pod['status'].get('message', '')}",
    }.get(why, f"ended with status {state.get('exitCode', 'unknown')} ({why})")
    raise CommandFailed(
        f"the Job {spec.name} ({spec.image}) {words}",
        remedy="look at its words above; `target.data.memory` gives it more memory",
        output=output,
    )
