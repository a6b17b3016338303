"""Watching a release until its workloads are well, with words on why they are not."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog

from ops_pipelines.engines._kube_needs import Cluster, Hands, Object
from ops_pipelines.engines.ports import Progress, silent
from ops_pipelines.errors import ClusterRefused, DeployFailed, OpsError, Unreachable
from ops_pipelines.policy.kube_objects import WORKLOADS, Key, containers_of, is_hook, key_of
from ops_pipelines.policy.kube_words import Look, is_ready, job_look, look, rollout, stuck

log = structlog.get_logger()

_POLL = 0.25
_SLOWEST_POLL = 2.0
SERVER_BACK = 120.0
"""Seconds that an API server which went away meanwhile may take to answer again."""
_LISTED = {
    "Deployment": ("apps/v1", "deployments"),
    "StatefulSet": ("apps/v1", "statefulsets"),
    "DaemonSet": ("apps/v1", "daemonsets"),
    "Job": ("batch/v1", "jobs"),
}
_TAIL_LINES = 30


@dataclass(frozen=True)
class Seen:
    """One workload as the cluster has it, with its pods."""

    key: Key
    workload: Object | None
    """None where it is not there."""
    pods: tuple[Object, ...] = ()
    """Of the version that it is brought to, where that can be told; else all."""
    every: tuple[Object, ...] = ()
    """All of its pods."""


def watched_of(objects: Sequence[Mapping[str, Any]], namespace: str) -> tuple[Key, ...]:
    """Workloads and Jobs of a release that are waited for."""
    return tuple(
        key_of(one, namespace)
        for one in objects
        if one.get("kind") in (*WORKLOADS, "Job") and not is_hook(one)
    )


def seen(cluster: Cluster, keys: Sequence[Key]) -> tuple[Seen, ...]:
    """Each workload with its pods. Raises Unreachable, ClusterRefused."""
    found: list[Seen] = []
    for namespace in dict.fromkeys(key.namespace for key in keys):
        mine = [key for key in keys if key.namespace == namespace]
        live = _live(cluster, namespace, {key.kind for key in mine})
        pods = cluster.listed(f"/api/v1/namespaces/{namespace}/pods") if mine else []
        sets: list[Object] | None = None
        for key in mine:
            workload = live.get((key.kind, key.name))
            every = [one for one in pods if workload is not None and _selects(workload, one)]
            newest = every
            if workload is not None and key.kind == "Deployment" and not rollout(workload)[0]:
                if sets is None:
                    sets = cluster.listed(f"/apis/apps/v1/namespaces/{namespace}/replicasets")
                newest = _of_newest(workload, sets, every)
            elif workload is not None and key.kind == "StatefulSet":
                wanted = (workload.get("status") or {}).get("updateRevision")
                newest = [
                    one
                    for one in every
                    if (one["metadata"].get("labels") or {}).get("controller-revision-hash") == wanted
                ]
            found.append(Seen(key, workload, tuple(newest), tuple(every)))
    return tuple(found)


def _live(cluster: Cluster, namespace: str, kinds: set[str]) -> dict[tuple[str, str], Object]:
    live: dict[tuple[str, str], Object] = {}
    for kind in sorted(kinds):
        version, plural = _LISTED[kind]
        for one in cluster.listed(f"/apis/{version}/namespaces/{namespace}/{plural}"):
            # Items of a list do not say what they are.
            live[kind, str(one["metadata"]["name"])] = {"apiVersion": version, "kind": kind, **one}
    return live


def _selects(workload: Object, pod: Object) -> bool:
    selector = ((workload.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
    labels = pod["metadata"].get("labels") or {}
    return bool(selector) and all(labels.get(name) == value for name, value in selector.items())


def _of_newest(workload: Object, sets: Sequence[Object], pods: Sequence[Object]) -> list[Object]:
    note = "deployment.kubernetes.io/revision"
    uid, revision = workload["metadata"].get("uid"), (workload["metadata"].get("annotations") or {}).get(note)
    for one in sets:
        meta = one["metadata"]
        owned = any(owner.get("uid") == uid for owner in meta.get("ownerReferences") or ())
        if owned and (meta.get("annotations") or {}).get(note) == revision:
            wanted = (meta.get("labels") or {}).get("pod-template-hash")
            return [
                pod
                for pod in pods
                if (pod["metadata"].get("labels") or {}).get("pod-template-hash") == wanted
            ]
    return []


def await_well(
    objects: Sequence[Mapping[str, Any]],
    namespace: str,
    hands: Hands,
    *,
    within: float,
    check: Callable[[], None] = lambda: None,
    progress: Progress = silent,
) -> None:
    """Wait until every workload of a release is well. `check` is called before a pod that holds a rollout
    up is removed.

    Raises DeployFailed that names the workload that is not, and why."""
    keys = watched_of(objects, namespace)
    if not keys:
        return
    names = {key: name for name, key in hands.workloads(objects).items()}
    begun, pause, away = time.monotonic(), _POLL, 0.0
    since = hands.cluster.now()
    told: dict[Key, str] = {}
    while True:
        passed = time.monotonic() - begun
        try:
            looks = _looks(keys, hands, since.isoformat(), passed, check)
            away = 0.0
        except (Unreachable, ClusterRefused) as error:
            if isinstance(error, ClusterRefused) and error.code < 500:
                raise
            away = away or time.monotonic()
            if time.monotonic() - away > SERVER_BACK:
                raise
            log.warning("cluster away", problem=error.message)
            time.sleep(_SLOWEST_POLL)
            continue
        good = sum(1 for one in looks.values() if one.outcome == "ready")
        progress("start", good, len(looks), "workloads")
        _tell(looks, names, told)
        if good == len(looks):
            return
        bad = [(key, one) for key, one in looks.items() if one.outcome == "lost"]
        late = (
            [(key, one) for key, one in looks.items() if one.outcome == "waiting"] if passed > within else []
        )
        if bad or late:
            raise _failed(*(bad or late)[0], names, within if not bad else None)
        time.sleep(pause)
        pause = min(pause * 1.2, _SLOWEST_POLL)


def _looks(
    keys: Sequence[Key], hands: Hands, since: str, passed: float, check: Callable[[], None]
) -> dict[Key, Look]:
    cluster, looks, events = hands.cluster, {}, dict[str, list[Object]]()
    for one in seen(cluster, keys):
        if one.workload is None:
            looks[one.key] = Look("waiting", 0, 1, "is not there yet")
            continue
        if one.key.kind == "Job":
            looks[one.key] = job_look(one.workload)
            continue
        where = one.key.namespace
        if where not in events and not rollout(one.workload)[0]:
            events[where] = [
                event
                for event in cluster.listed(
                    f"/api/v1/namespaces/{where}/events", fieldSelector="type=Warning"
                )
                if _at(event) >= since[:19]
            ]
        looks[one.key] = look(
            one.workload,
            one.pods,
            [event for event in events.get(where, ()) if _about(event, one)],
            cluster.now(),
            unschedulable_within=hands.unschedulable_within,
            watched=passed,
        )
        for name in stuck(one.workload, one.every):
            check()
            log.info("removes a pod that holds a rollout up", pod=name, namespace=where)
            cluster.delete(f"/api/v1/namespaces/{where}/pods/{name}")
    return looks


def _at(event: Object) -> str:
    """When an event was last seen, to the second."""
    series = (event.get("series") or {}).get("lastObservedTime")
    return str(event.get("lastTimestamp") or series or event.get("eventTime") or "")[:19]


def _about(event: Object, one: Seen) -> bool:
    involved = event.get("involvedObject") or {}
    if involved.get("kind") == "Pod":
        return involved.get("uid") in {pod["metadata"].get("uid") for pod in one.pods}
    name = str(involved.get("name", ""))
    return name == one.key.name or (
        involved.get("kind") == "ReplicaSet" and name.rpartition("-")[0] == one.key.name
    )


def _tell(looks: Mapping[Key, Look], names: Mapping[Key, str], told: dict[Key, str]) -> None:
    """A line for each workload whose state is told in other words than before."""
    for key, one in looks.items():
        if told.get(key) != one.words:
            told[key] = one.words
            log.info(
                "workload",
                component=names.get(key, ""),
                workload=str(key),
                state=one.outcome,
                words=one.words,
            )


def _failed(key: Key, one: Look, names: Mapping[Key, str], within: float | None) -> DeployFailed:
    who = f"component `{names[key]}` ({key})" if key in names else f"`{key}`"
    late = f" after {within:.0f} s" if within is not None else ""
    return DeployFailed(
        f"{who} is not well{late}: {one.words}",
        remedy=one.remedy or "look at its log and events, mend what they name, then deploy again",
    )


def tails(objects: Sequence[Mapping[str, Any]], namespace: str, hands: Hands) -> str:
    """The end of the logs of pods that are not ready."""
    words: list[str] = []
    try:
        for one in seen(hands.cluster, watched_of(objects, namespace)):
            for pod in one.pods:
                if not is_ready(pod):
                    words += _tail(hands.cluster, pod)
    except OpsError as error:
        words.append(f"(logs cannot be read: {error.message})\n")
    return "".join(words[:6])


def _tail(cluster: Cluster, pod: Object) -> list[str]:
    meta, statuses = pod["metadata"], (pod.get("status") or {}).get("containerStatuses") or ()
    restarts = {one["name"]: int(one.get("restartCount", 0)) for one in statuses}
    words = []
    for container in containers_of(pod):
        name, text = str(container["name"]), ""
        with suppress(OpsError):
            text = cluster.log_tail(meta["namespace"], meta["name"], name, _TAIL_LINES)
            if not text.strip() and restarts.get(name):
                text = cluster.log_tail(meta["namespace"], meta["name"], name, _TAIL_LINES, previous=True)
        if text.strip():
            words.append(f"--- the end of the log of {meta['name']}, {name} ---\n{text.rstrip()}\n---\n")
    return words
