"""Target `kubernetes` of one stack: its chart rendered, planned, applied, watched, put back, looked at."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import datetime
from threading import Thread

from ops_pipelines.engines import kube as engine
from ops_pipelines.engines import kube_bluegreen as beside
from ops_pipelines.engines._deploy_needs import Deployed, ReplicaStatus, no_smoke
from ops_pipelines.engines._deploy_preflight import refuse
from ops_pipelines.engines._kube_needs import Object
from ops_pipelines.engines.ports import Fence, Progress
from ops_pipelines.engines.revisions import Revision
from ops_pipelines.errors import OpsError, Refused, UsageError
from ops_pipelines.policy.bluegreen import revision_note
from ops_pipelines.policy.kube_diff import by_hand
from ops_pipelines.policy.kube_objects import Key, containers_of, is_kept, key_of, replicas_of
from ops_pipelines.policy.kube_release import Release, from_json, to_json, with_replicas
from ops_pipelines.policy.kube_replicas import candidates, claims_of, owner_of
from ops_pipelines.policy.kube_words import is_ready, pod_fault
from ops_pipelines.policy.plan import Finding, Plan, Step, Verb
from ops_pipelines.policy.processes import ProcessState
from ops_pipelines.wiring import asking, kube_bluegreen, kube_preflight, revisions
from ops_pipelines.wiring.kube_site import KubeSite, within
from ops_pipelines.wiring.site import Site

_DOWN = 300.0
"""Seconds that a hook may take while a release is removed."""
_HALTED = "ops-pipelines.io/halted-at"
"""Annotation of a workload that rests: how many replicas it had."""
_PHASES: Mapping[str, ProcessState] = {
    "Pending": "starting",
    "Running": "running",
    "Succeeded": "exited",
    "Failed": "fatal",
}


def plan(site: Site, *, to: int | None = None, blue_green: bool | None = None) -> Plan:
    """What a deploy (or going back to revision `to`) would change."""
    here = KubeSite(site)
    if to is None:
        return _shown(here, here.look(f"Deploy {site.name}", wanted(here)), blue_green)
    earlier = revisions.read(site, to)
    notes = revisions.differences(site, earlier)
    title = f"go back to revision {to} of {site.name}"
    return _shown(here, here.look(title, from_json(earlier.artifact), notes), blue_green)


def _shown(here: KubeSite, looked: engine.Look, blue_green: bool | None) -> Plan:
    return kube_bluegreen.choose(here, looked, blue_green).shown(looked.plan)


def wanted(here: KubeSite) -> Release:
    """The release as declared, with the replicas that scaling has chosen, which a deploy must not undo."""
    release, standing = here.release, before(here.site)
    for rule in here.site.stack.scaling.values():
        if standing is None or rule.mode == "observe" or rule.owner != "ops-pipelines":
            continue
        for path in candidates(rule.component, here.target.replica_values):
            if path in standing.replicas:
                count = min(max(standing.replicas[path], rule.minimum), rule.maximum)
                release = with_replicas(release, path, count)
    return release


def reading(site: Site) -> AbstractContextManager[None]:
    """Nothing: what the cluster is asked must be asked under the lease."""
    del site
    return nullcontext()


def preflight(site: Site) -> tuple[Finding, ...]:
    """Everything that a deploy needs, the good findings too."""
    return kube_preflight.findings(KubeSite(site), f"Deploy {site.name}", wanted)[0]


def before(site: Site) -> Release | None:
    """The release of the newest revision; None where none was deployed on this target."""
    found = revisions.newest(site)
    return from_json(found.artifact) if found is not None and found.target == "kubernetes" else None


def deploy(
    site: Site,
    *,
    earlier: Revision | None,
    by: str,
    fence: Fence,
    progress: Progress,
    blue_green: bool | None = None,
) -> Deployed:
    """Deploy what is declared, or the `earlier` revision, under the stack's lease."""
    here = KubeSite(site)
    kube_bluegreen.finish(here, fence, progress)
    reason = "deploy" if earlier is None else "rollback"
    note = "deploy" if earlier is None else f"rollback to {earlier.number}"
    release = wanted if earlier is None else lambda _: from_json(earlier.artifact)
    findings, looked = kube_preflight.findings(here, f"{reason.capitalize()} {site.name}", release)
    refuse(findings)
    if looked is None:
        raise Refused(f"what a {reason} would change is unknown", remedy="look at the findings of its plan")

    def smoke() -> tuple[Finding, ...]:
        asked = asking.answers(site)
        return asked if earlier is None else asking.for_information(asked)

    choice = kube_bluegreen.choose(here, looked, blue_green)
    if choice.moves:
        return beside.deploy(
            site.name, looked, choice.moves, kube_bluegreen.bench(here), plan=choice.shown(looked.plan),
            fence=fence, smoke=smoke, within=within(site), reason=reason, findings=findings,
            record=lambda done, watched: _record(here, done, by, revision_note(note, watched), earlier),
            force_conflicts=here.target.force_conflicts, progress=progress,
        )  # fmt: skip
    return engine.deploy(
        site.name, replace(looked, plan=choice.shown(looked.plan)), here.hands, before=before(site),
        fence=fence, smoke=smoke, within=within(site),
        record=lambda done: _record(here, done, by, note, earlier), reason=reason, findings=findings,
        force_conflicts=here.target.force_conflicts, progress=progress,
    )  # fmt: skip


def _record(here: KubeSite, done: Release, by: str, note: str, of: Revision | None = None) -> int:
    here.keep(done)
    return revisions.record(here.site, to_json(replace(done, images=_images(here))), by, note, of=of)


def _images(here: KubeSite) -> dict[str, str]:
    """Image -> what its name stood for, as the pods of the release say."""
    found: dict[str, str] = {}
    try:
        for one in _seen(here):
            for pod in one.pods:
                for status in (pod.get("status") or {}).get("containerStatuses") or ():
                    if status.get("imageID"):
                        found[str(status["image"])] = str(status["imageID"])
    except OpsError:
        return {}
    return dict(sorted(found.items()))


# --- scaling ---


def scale(site: Site, component: str, count: int, fence: Fence) -> None:
    """Bring one component to `count` pods, by the value of the chart that says how many it has.

    Raises UsageError for a stack that was never deployed and where no value does, Refused where somebody else decides.
    """
    here, standing = KubeSite(site), before(site)
    if standing is None:
        raise UsageError(
            f"{site.name} was never deployed, so there is nothing to scale",
            remedy=f"deploy it first: ops-pipelines deploy {site.name}",
        )
    objects = engine.standing(standing, here.hands).objects
    key = here.workloads(objects).get(component)
    if key is None:
        raise UsageError(
            f"no workload of release {standing.name} runs the component {component}",
            remedy=f"name it: target.workloads.{component}: Deployment/NAME",
        )
    owner = owner_of(key, _scalers(here, key))
    if owner is not None:
        raise Refused(
            f"the replicas of {component} ({key}) are decided by {owner}",
            remedy=f"change its bounds, or remove it and let ops-pipelines scale {component}",
        )
    release = _scaled(here, standing, component, key, count)
    engine.deploy(
        site.name,
        here.look(f"Scale {component} of {site.name} to {count}", release),
        here.hands,
        before=standing,
        fence=fence,
        record=lambda done: _record(here, done, "scaling", revisions.scale_note(component, count)),
        smoke=no_smoke,
        within=within(site),
        reason=f"scaling of {component} to {count}",
        force_conflicts=here.target.force_conflicts,
    )


def _scalers(here: KubeSite, key: Key) -> list[Object]:
    path = f"/apis/autoscaling/v2/namespaces/{key.namespace}/horizontalpodautoscalers"
    return here.cluster.listed(path)


def _scaled(here: KubeSite, release: Release, component: str, key: Key, count: int) -> Release:
    """The release with another number of replicas: the first value of the usual ones that the chart goes by."""
    chart = here.chart(release)
    tried = candidates(component, here.target.replica_values)

    def says(one: Release, path: str) -> bool:
        objects = here.helm.render(chart, here.layers(one).texts, upgrade=True)
        found = [each for each in objects if key_of(each, key.namespace) == key]
        return bool(found) and replicas_of(found[0]) == one.replicas[path]

    for path in tried:
        # A value that the chart does not read changes nothing: another number than any default tells. The smaller one,
        # as a chart may refuse more than there is room for.
        try:
            read = says(with_replicas(release, path, count - 1 if count else 1), path)
        except OpsError:  # a closed schema refuses a value that it does not know
            continue
        changed = with_replicas(release, path, count)
        if read and says(changed, path):
            return changed
    raise UsageError(
        f"no value of chart {release.chart} says how many replicas {component} has; tried: {', '.join(tried)}",
        remedy=f"name it: target.replica_values.{component}: PATH.OF.VALUE",
    )


# --- what is there ---


def _seen(here: KubeSite) -> tuple[engine.Seen, ...]:
    """Workloads of the release with their pods, as they are now."""
    objects = engine.standing(_release(here), here.hands).objects
    return engine.seen(here.cluster, engine.watched_of(objects, here.target.namespace))


def _release(here: KubeSite) -> Release:
    """The name of the release, for asking what stands of it: its chart and values do not matter."""
    return Release(here.target.release, here.target.namespace, "", "")


def _components(here: KubeSite, found: Sequence[engine.Seen]) -> dict[Key, str]:
    objects = [one.workload for one in found if one.workload is not None]
    return {key: name for name, key in here.workloads(objects).items()}


def status(site: Site) -> tuple[ReplicaStatus, ...]:
    """Each pod of the release, and each component that has none."""
    here = KubeSite(site)
    seen = _seen(here)
    names, now = _components(here, seen), here.cluster.now()
    rows: list[ReplicaStatus] = []
    for one in seen:
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
        seen = _seen(here)
        names = _components(here, seen)
        pods = [pod for one in seen if names.get(one.key) == component for pod in one.every]
    except OpsError:
        return None
    up = [pod for pod in pods if str((pod.get("status") or {}).get("phase")) == "Running"]
    return tuple(range(len(up)))


def drift(site: Site) -> Plan:
    """What differs between what runs and what is declared."""
    here = KubeSite(site)
    looked = here.look(f"Drift of {site.name}", wanted(here))
    names = {key: name for name, key in here.workloads(looked.objects).items()}
    steps = (*looked.plan.steps, *by_hand(looked.tried, names))
    return replace(looked.plan, steps=steps)


# --- rest ---


def running(site: Site, components: Sequence[str]) -> tuple[str, ...]:
    """Workloads of some components that have or would have pods."""
    here = KubeSite(site)
    seen = _seen(here)
    names = _components(here, seen)
    return tuple(
        str(one.key)
        for one in seen
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
    kube_preflight.await_no_pods(here, found)


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
    seen = _seen(here)
    names = _components(here, seen)
    ours = {pod["metadata"]["name"] for one in seen for pod in one.every}
    claims = {
        name
        for one in seen
        if names.get(one.key) in components
        for pod in one.every
        for name in claims_of(pod)
    }
    pods = here.cluster.listed(f"/api/v1/namespaces/{here.target.namespace}/pods")
    strangers = {
        str(pod["metadata"]["name"]): sorted(claims & set(claims_of(pod)))
        for pod in pods
        if pod["metadata"]["name"] not in ours
        and claims & set(claims_of(pod))
        and str((pod.get("status") or {}).get("phase")) in ("Pending", "Running")
    }
    if strangers:
        held = "; ".join(f"pod {name} uses {', '.join(each)}" for name, each in strangers.items())
        raise Refused(
            f"what is to be replaced is in use by pods that are not of {site.name}: {held}",
            remedy="stop them first",
        )


# --- the end ---


def down_plan(site: Site, *, volumes: bool) -> Plan:
    """What `down` would remove."""
    here = KubeSite(site)
    objects = engine.standing(_release(here), here.hands).objects
    standing = before(site)
    # The claims of one that was taken down before are those that its objects name.
    last = objects or (here.render(standing) if standing is not None else ())
    steps = [
        Step("keep" if is_kept(one) else "remove", str(key_of(one, here.target.namespace)))
        for one in objects
        if one.get("kind") != "PersistentVolumeClaim"
    ]
    verb: Verb = "remove" if volumes else "keep"
    words = "with all that is in it" if volumes else ""
    steps += [Step(verb, f"PersistentVolumeClaim/{name}", words) for name in _claims(here, last)]
    return Plan(f"Take {site.name} down", tuple(steps))


def _claims(here: KubeSite, objects: Iterable[Mapping[str, object]]) -> list[str]:
    """Volume claims of the release that are there: its own, and those that its StatefulSets made."""
    there = here.cluster.listed(
        f"/api/v1/namespaces/{here.target.namespace}/persistentvolumeclaims", brief=True
    )
    return kube_preflight.claims_among(there, here.target.release, list(objects))


def down(site: Site, *, volumes: bool, fence: Fence) -> Plan:
    """Remove the release; its volume claims stay, unless `volumes` says otherwise. What was done."""
    here = KubeSite(site)
    steps = down_plan(site, volumes=volumes)
    fence.check()
    now, _ = engine.mend(engine.standing(_release(here), here.hands), fence.token, within=_DOWN)
    engine.keep_claims(now)  # whatever goes first, data goes last, and by its own step
    fence.check()
    here.helm.uninstall(within=_DOWN)
    if volumes:
        for step in steps.changes:
            kind, _, name = step.subject.partition("/")
            if kind == "PersistentVolumeClaim":
                fence.check()
                here.cluster.delete(
                    f"/api/v1/namespaces/{here.target.namespace}/persistentvolumeclaims/{name}"
                )
    return steps


# --- words ---


def logs(site: Site, component: str | None, *, lines: int, follow: bool) -> int:
    """Show what pods print, on this terminal; 0 where that went well."""
    here = KubeSite(site)
    seen = _seen(here)
    names = _components(here, seen)
    known = sorted({names.get(one.key, one.key.name) for one in seen})
    if component is not None and component not in known:
        raise UsageError(
            f"{site.name} has no workload of {component!r}", remedy=f"there are: {', '.join(known) or 'none'}"
        )
    places = [
        (pod, str(container["name"]))
        for one in seen
        if component in (None, names.get(one.key, one.key.name))
        for pod in one.every
        for container in containers_of(pod)
    ]
    bad: list[OpsError] = []

    def show(pod: Object, container: str) -> None:
        try:
            for line in _lines(here, pod, container, lines, follow):
                sys.stdout.write(f"{pod['metadata']['name']} {container} | {line}\n")
                sys.stdout.flush()
        except OpsError as error:
            bad.append(error)

    workers = [Thread(target=show, args=place, daemon=True) for place in places]
    for worker in workers:
        worker.start()
        if not follow:
            worker.join()
    try:
        for worker in workers:
            worker.join()
    except KeyboardInterrupt:
        return 0
    for error in bad:
        sys.stderr.write(f"{error.message}\n")
    return 1 if bad else 0


def _lines(here: KubeSite, pod: Object, container: str, lines: int, follow: bool) -> Iterator[str]:
    meta = pod["metadata"]
    return here.cluster.follow(meta["namespace"], meta["name"], container, lines=lines, follow=follow)


def build(site: Site, components: Sequence[str]) -> int:
    """A cluster builds no images. Raises UsageError that says who does."""
    del components
    raise UsageError(
        f"{site.name} runs on a cluster, which builds no images",
        remedy="build and push them (`docker build`, `docker push`), and name them in the chart's values",
    )


__all__ = [
    "before", "build", "deploy", "down", "down_plan", "drift", "halt", "logs", "plan", "preflight", "reading",
    "replica_numbers",
    "require_free", "resume", "running", "scale", "status", "wanted",
]  # fmt: skip
