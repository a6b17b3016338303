"""What stands of a stack on a cluster: its release of the newest revision, its workloads and pods, each replica."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from ops_pipelines.engines import kube as engine
from ops_pipelines.engines._deploy_needs import ReplicaStatus
from ops_pipelines.engines._kube_needs import Object
from ops_pipelines.engines.revisions import Revision
from ops_pipelines.errors import OpsError
from ops_pipelines.policy.kube_objects import Key, replicas_of
from ops_pipelines.policy.kube_release import Release, from_json, to_json
from ops_pipelines.policy.kube_words import is_ready, pod_fault
from ops_pipelines.policy.processes import ProcessState
from ops_pipelines.wiring import revisions
from ops_pipelines.wiring.kube_site import KubeSite
from ops_pipelines.wiring.site import Site

_PHASES: Mapping[str, ProcessState] = {
    "Pending": "starting",
    "Running": "running",
    "Succeeded": "exited",
    "Failed": "fatal",
}


def before(site: Site) -> Release | None:
    """The release of the newest revision; None where none was deployed on this target."""
    found = revisions.newest(site)
    return from_json(found.artifact) if found is not None and found.target == "kubernetes" else None


def record(here: KubeSite, done: Release, by: str, note: str, of: Revision | None = None) -> int:
    """Record a release as a revision, its chart first, and return the number."""
    here.keep(done)
    return revisions.record(here.site, to_json(replace(done, images=images(here))), by, note, of=of)


def images(here: KubeSite) -> dict[str, str]:
    """Image -> what its name stood for, as the pods of the release say."""
    found: dict[str, str] = {}
    try:
        for one in seen(here):
            for pod in one.pods:
                for status in (pod.get("status") or {}).get("containerStatuses") or ():
                    if status.get("imageID"):
                        found[str(status["image"])] = str(status["imageID"])
    except OpsError:
        return {}
    return dict(sorted(found.items()))


def seen(here: KubeSite) -> tuple[engine.Seen, ...]:
    """Workloads of the release with their pods, as they are now."""
    objects = engine.standing(release(here), here.hands).objects
    return engine.seen(here.cluster, engine.watched_of(objects, here.target.namespace))


def release(here: KubeSite) -> Release:
    """The name of the release, for asking what stands of it: its chart and values do not matter."""
    return Release(here.target.release, here.target.namespace, "", "")


def names_of(here: KubeSite, found: Sequence[engine.Seen]) -> dict[Key, str]:
    """Workload -> the component that it runs; those that the declaration does not name are left out."""
    objects = [one.workload for one in found if one.workload is not None]
    return {key: name for name, key in here.workloads(objects).items()}


def status(site: Site) -> tuple[ReplicaStatus, ...]:
    """Each pod of the release, and each component that has none."""
    here = KubeSite(site)
    found = seen(here)
    names, now = names_of(here, found), here.cluster.now()
    rows: list[ReplicaStatus] = []
    for one in found:
        if one.key.kind == "Job":
            continue
        name = names.get(one.key, one.key.name)
        rows += [_row(name, pod, now, known=one.key in names) for pod in one.every]
        asked = replicas_of(one.workload) if one.workload is not None else 0
        if not one.every and asked != 0:
            rows.append(ReplicaStatus(name, str(one.key), "stopped", False, detail="has no pod"))
    there = {row.component for row in rows} | set(names.values())
    rows += [
        ReplicaStatus(name, name, "stopped", False, detail="is not deployed")
        for name, one in site.stack.components.items()
        if name not in there and one.replicas and one.address is None
    ]
    return tuple(rows)


def _row(component: str, pod: Object, now: datetime, *, known: bool) -> ReplicaStatus:
    meta, seen = pod["metadata"], pod.get("status") or {}
    state = _PHASES.get(str(seen.get("phase")), "unknown")
    if meta.get("deletionTimestamp"):
        state = "stopping"
    fault = pod_fault(pod, (), now, 0.0)
    words = fault.words if fault else "ready" if is_ready(pod) else "is not ready"
    begun = str(seen.get("startTime") or "")
    uptime = (now - datetime.fromisoformat(begun)).total_seconds() if begun and state == "running" else None
    return ReplicaStatus(
        component,
        str(meta["name"]),
        state,
        is_ready(pod),
        uptime=max(uptime, 0.0) if uptime is not None else None,
        detail=words if known else f"{words}; the declaration does not name it",
    )


def replica_numbers(site: Site, component: str) -> tuple[int, ...] | None:
    """Numbers of a component's pods that run; None where that is unknown."""
    here = KubeSite(site)
    try:
        found = seen(here)
        names = names_of(here, found)
        pods = [pod for one in found if names.get(one.key) == component for pod in one.every]
    except OpsError:
        return None
    up = [pod for pod in pods if str((pod.get("status") or {}).get("phase")) == "Running"]
    return tuple(range(len(up)))
