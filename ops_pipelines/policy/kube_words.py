"""How far a workload is, and why it is no further, in words: from its status, its pods and their events.

Rules of the rollout are those of `kubectl rollout status` (`k8s.io/kubectl/pkg/polymorphichelpers/rollout_status.go`);
reasons are kubelet's (`pkg/kubelet/container/sync_result.go`, `pkg/kubelet/events/event.go`) and the scheduler's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from ops_pipelines.policy.kube_objects import Object

_RESTARTS = 3
"""Ends of a container after which it is not waited for any longer."""
_PULLS = 20.0
"""Seconds in which an image must have come, or kubelet be at it, once it said that it cannot."""
_REFUSED = 10.0
"""Seconds in which the cluster must take a pod that it refused to make: an account or a quota may come late."""

Outcome = Literal["ready", "waiting", "lost"]


@dataclass(frozen=True)
class Look:
    """One workload as it is seen now."""

    outcome: Outcome
    done: int
    total: int
    words: str
    remedy: str = ""


@dataclass(frozen=True)
class _Fault:
    """What keeps a pod from being ready. `after`: seconds from which it is not waited for; None: it may still come."""

    words: str
    remedy: str
    after: float | None = None


def rollout(workload: Object) -> tuple[bool, int, int, str]:
    """(whether it is rolled out, pods that are as wanted, pods wanted, words) of a workload."""
    kind, spec, status = workload.get("kind"), workload.get("spec") or {}, workload.get("status") or {}
    generation = (workload.get("metadata") or {}).get("generation", 0)
    seen = status.get("observedGeneration", 0) >= generation
    if kind == "DaemonSet":
        total = int(status.get("desiredNumberScheduled", 0))
        done = min(int(status.get("updatedNumberScheduled", 0)), int(status.get("numberAvailable", 0)))
        return seen and done >= total, done, total, f"{done} of {total} pods are there"
    total = int(spec.get("replicas", 1) if spec.get("replicas") is not None else 1)
    if kind == "StatefulSet":
        return _stateful(spec, status, seen, total)
    updated, available = int(status.get("updatedReplicas", 0)), int(status.get("availableReplicas", 0))
    done = min(updated, available)
    old = int(status.get("replicas", 0)) - updated
    words = f"{done} of {total} pods are ready"
    if old > 0 and done >= total:
        words += f", {old} of the version before {'is' if old == 1 else 'are'} still there"
    return seen and updated >= total and available >= updated and old <= 0, done, total, words


def _stateful(
    spec: Mapping[str, Any], status: Mapping[str, Any], seen: bool, total: int
) -> tuple[bool, int, int, str]:
    ready, updated = int(status.get("readyReplicas", 0)), int(status.get("updatedReplicas", 0))
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        return seen and ready >= total, ready, total, f"{ready} of {total} pods are ready"
    kept = int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
    done = min(ready, updated) if not kept else ready
    fresh = updated >= total - kept
    return seen and ready >= total and fresh, done, total, f"{done} of {total} pods are ready"


def look(
    workload: Object,
    pods: Sequence[Object],
    events: Sequence[Object],
    now: datetime,
    *,
    unschedulable_within: float,
    watched: float,
) -> Look:
    """One workload now. `pods` are its own, `events` those of its pods and of what makes them; `watched` is for how
    many seconds it has been waited for."""
    well, done, total, words = rollout(workload)
    if well:
        return Look("ready", done, total, words)
    reasons = [*_making_faults(workload, events)]
    for pod in pods:
        fault = pod_fault(pod, events, now, unschedulable_within)
        if fault is not None:
            reasons.append(fault)
    if not reasons:
        return Look("waiting", done, total, words)
    # One that cannot mend itself is the one to tell of.
    worst = min(reasons, key=lambda one: (one.after is None, one.after or 0.0))
    lost = worst.after is not None and watched >= worst.after
    return Look("lost" if lost else "waiting", done, total, f"{words}: {worst.words}", worst.remedy)


def _making_faults(workload: Object, events: Sequence[Object]) -> Iterable[_Fault]:
    """Why pods cannot even be made: quota, PodSecurity, a webhook, an account that is not there."""
    conditions = (workload.get("status") or {}).get("conditions") or ()
    texts = [str(one.get("message", "")) for one in conditions if one.get("type") == "ReplicaFailure"]
    texts += [str(one.get("message", "")) for one in events if one.get("reason") == "FailedCreate"]
    for text in dict.fromkeys(texts):
        yield _refused(text)


def _refused(text: str) -> _Fault:
    if "exceeded quota" in text:
        return _Fault(
            f"the namespace's quota is used up: {short(text)}",
            "raise the ResourceQuota, or ask for less (resources, replicas)",
            60.0,
        )
    if "violates PodSecurity" in text:
        return _Fault(
            f"the namespace's PodSecurity level refuses the pod: {short(text)}",
            "correct securityContext in the values, or label the namespace with a level that allows it",
            _REFUSED,
        )
    if "admission webhook" in text:
        return _Fault(
            f"an admission webhook refuses the pod: {short(text)}", "do what the webhook asks", _REFUSED
        )
    if "serviceaccount" in text and "not found" in text:
        return _Fault(short(text), "make the ServiceAccount, or let the chart make it", _REFUSED)
    return _Fault(f"pods cannot be made: {short(text)}", "mend what the cluster says", _REFUSED)


def pod_fault(
    pod: Object, events: Sequence[Object], now: datetime, unschedulable_within: float
) -> _Fault | None:
    """What keeps a pod from being ready; None where nothing says so."""
    name = str((pod.get("metadata") or {}).get("name", ""))
    status = pod.get("status") or {}
    conditions = {one.get("type"): one for one in status.get("conditions") or ()}
    if (pod.get("metadata") or {}).get("deletionTimestamp"):
        return None
    scheduled = conditions.get("PodScheduled") or {}
    if scheduled.get("status") == "False" and scheduled.get("reason") in ("Unschedulable", "SchedulerError"):
        return _unschedulable(name, str(scheduled.get("message", "")), pod, now, unschedulable_within)
    if scheduled.get("reason") == "SchedulingGated":
        return _Fault(
            f"pod {name} is held back by a scheduling gate", "remove the gate, or wait for who sets it"
        )
    if status.get("reason") == "Evicted":
        return _Fault(
            f"pod {name} was evicted: {short(str(status.get('message', '')))}", "give the node more room"
        )
    for one in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        fault = _container_fault(name, one, status)
        if fault is not None:
            return fault
    if (conditions.get("Ready") or {}).get("status") != "True":
        return _told_by_events(name, pod, events)
    return None


def _unschedulable(name: str, message: str, pod: Object, now: datetime, within: float) -> _Fault:
    remedy = "add nodes, free some, or ask for less (resources, nodeSelector, tolerations)"
    if "unbound immediate PersistentVolumeClaims" in message or "persistentvolumeclaim" in message:
        remedy = "look at its PersistentVolumeClaims: is their storage class there, and does it make volumes?"
    elif re.search(r"Insufficient \S*(nvidia\.com|amd\.com|gpu\.intel\.com)/", message):
        remedy = "no node has as many free cards: free some, add a GPU node, or ask for fewer"
    elif "untolerated taint" in message and "Insufficient" not in message:
        remedy = "add the toleration that the nodes' taint asks for"
    age = _age(pod, now)
    late = None if within and (age is None or age < within) else 0.0
    return _Fault(f"no node takes pod {name}: {short(message)}", remedy, late)


def _container_fault(pod: str, status: Mapping[str, Any], whole: Mapping[str, Any]) -> _Fault | None:
    name, image = str(status.get("name", "")), str(status.get("image", ""))
    state, last = status.get("state") or {}, (status.get("lastState") or {}).get("terminated") or {}
    waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
    reason, message = str(waiting.get("reason", "")), short(str(waiting.get("message", "")))
    restarts = int(status.get("restartCount", 0))
    del whole
    where = f"container {name} of pod {pod}"
    if reason in ("ErrImagePull", "ImagePullBackOff"):
        remedy = "correct the image's name, push it, or give the pod an imagePullSecret for its registry"
        return _Fault(f"the image {image} cannot be pulled: {message}", remedy, _PULLS)
    if reason in ("InvalidImageName", "ErrImageNeverPull"):
        return _Fault(f"the image {image} is none: {message or reason}", "correct the image's name", 0.0)
    if reason in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
        return _Fault(
            f"{where} cannot be made: {message or reason}", "make what it names, or correct the values", 30.0
        )
    end = ended or (last if not status.get("ready") else {})
    if end and (
        end.get("reason") == "OOMKilled" or (end.get("exitCode") == 137 and end.get("reason") == "Error")
    ):
        if end.get("reason") == "OOMKilled":
            words = f"{where} was killed: it used more memory than its limit ({restarts} restarts)"
            return _Fault(words, "raise its memory limit, or take a smaller model", _tries(restarts))
        words = f"{where} was killed ({restarts} restarts)"
        return _Fault(words, "look at its log and at its probes", _tries(restarts))
    if end and end.get("exitCode", 0) != 0:
        words = f"{where} ended with status {end.get('exitCode')} ({restarts} restarts)"
        said = short(str(end.get("message", "")))
        return _Fault(f"{words}{': ' + said if said else ''}", "mend what its log names", _tries(restarts))
    if restarts >= _RESTARTS and not status.get("ready"):
        return _Fault(f"{where} has started {restarts} times again", "mend what its log names", 0.0)
    return None


def _tries(restarts: int) -> float | None:
    """One that has ended a few times is given up; one that ended once may come up yet."""
    return 0.0 if restarts >= _RESTARTS else None


def _told_by_events(name: str, pod: Object, events: Sequence[Object]) -> _Fault | None:
    """The newest warning that somebody had about a pod that has not started, or is not ready."""
    uid = (pod.get("metadata") or {}).get("uid")
    mine = [
        one
        for one in events
        if one.get("type") == "Warning" and (one.get("involvedObject") or {}).get("uid") == uid and uid
    ]
    mine.sort(key=lambda one: str(one.get("lastTimestamp") or one.get("eventTime") or ""))
    for one in reversed(mine):
        reason, message = str(one.get("reason", "")), short(str(one.get("message", "")))
        if reason == "Unhealthy":
            remedy = "look at its log; give `startupProbe` longer where a model takes its time to load"
            return _Fault(f"a probe of pod {name} fails: {message}", remedy)
        if reason in ("FailedMount", "FailedAttachVolume", "FailedMapVolume"):
            return _Fault(f"pod {name} waits for a volume: {message}", "mend the volume that it names")
        if reason in ("FailedCreatePodSandBox", "NetworkNotReady"):
            return _Fault(f"the node cannot start pod {name}: {message}", "look at the node")
        if reason == "UnexpectedAdmissionError":
            return _Fault(f"the node refuses pod {name}: {message}", "look at the node's devices", 0.0)
    return None


def _age(found: Object, now: datetime) -> float | None:
    text = str((found.get("metadata") or {}).get("creationTimestamp") or "")
    try:
        return (now - datetime.fromisoformat(text.replace("Z", "+00:00"))).total_seconds()
    except ValueError:
        return None


def short(text: str, size: int = 300) -> str:
    """A message on one line, cut where it is long."""
    one = " ".join(text.split())
    return one if len(one) <= size else f"{one[: size - 1]}…"


def job_look(job: Object) -> Look:
    """A Job: it is well while it works and when it has ended well."""
    status = job.get("status") or {}
    for one in status.get("conditions") or ():
        if one.get("type") == "Failed" and one.get("status") == "True":
            return Look(
                "lost", 0, 1, f"it failed: {short(str(one.get('message', '')))}", "mend what its log names"
            )
    done = int(status.get("succeeded", 0))
    return Look("ready", done, 1, "ended well" if done else "is at work")


def stuck(workload: Object, pods: Sequence[Object]) -> tuple[str, ...]:
    """Pods of a StatefulSet that hold its rollout up: of an older version, and not ready.

    The controller waits for such a pod to become well before it replaces it, and so for ever (a known limitation:
    https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#forced-rollback)."""
    status = workload.get("status") or {}
    wanted = status.get("updateRevision")
    if workload.get("kind") != "StatefulSet" or not wanted:
        return ()
    if status.get("observedGeneration", 0) < (workload.get("metadata") or {}).get("generation", 0):
        return ()
    return tuple(
        str(one["metadata"]["name"])
        for one in pods
        if (one["metadata"].get("labels") or {}).get("controller-revision-hash") != wanted
        and not one["metadata"].get("deletionTimestamp")
        and not is_ready(one)
    )


def is_ready(pod: Object) -> bool:
    """Whether a pod is ready."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)
