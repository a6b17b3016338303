"""Target `compose` of one stack: its project rendered, planned, deployed, put back, looked at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from ops_pipelines.engines import bluegreen
from ops_pipelines.engines import compose as engine
from ops_pipelines.engines._deploy_needs import Deployed, ReplicaStatus, no_smoke
from ops_pipelines.engines._deploy_preflight import refuse
from ops_pipelines.engines.ports import Fence, Progress, silent
from ops_pipelines.engines.revisions import Revision
from ops_pipelines.errors import OpsError, Refused, UsageError
from ops_pipelines.policy.adapters import placement
from ops_pipelines.policy.bluegreen import Watched, revision_note
from ops_pipelines.policy.compose_plan import Container, ContainerState, replica_health
from ops_pipelines.policy.compose_project import (
    Project,
    from_json,
    replicas_of,
    to_json,
    with_replicas,
)
from ops_pipelines.policy.plan import Finding, Plan, Step, Verb
from ops_pipelines.policy.processes import ProcessState
from ops_pipelines.policy.tuning import given_to
from ops_pipelines.wiring import asking, compose_bluegreen, compose_preflight, revisions, tuning
from ops_pipelines.wiring.bluegreen import declared
from ops_pipelines.wiring.compose_site import ComposeSite, compose_site, read_once, within
from ops_pipelines.wiring.connect import now
from ops_pipelines.wiring.site import Site

_DOWN = 600.0
"""Seconds that stopping may take; each container has its own grace period within it."""
_STATES: Mapping[ContainerState, ProcessState] = {
    "created": "stopped",
    "running": "running",
    "paused": "stopped",
    "restarting": "backoff",
    "removing": "stopping",
    "exited": "exited",
    "dead": "fatal",
}


def plan(site: Site, *, to: int | None = None, blue_green: bool | None = None) -> Plan:
    """What a deploy (or going back to revision `to`) would change."""
    here = compose_site(site)
    if to is None:
        project, title = wanted(here), f"Deploy {site.name}"
        notes: tuple[str, ...] = ()
    else:
        earlier = revisions.read(site, to)
        project, gone = engine.as_it_ran(from_json(earlier.artifact), here.hands())
        title = f"go back to revision {to} of {site.name}"
        notes = (*gone, *revisions.differences(site, earlier))
    found, choice = _planned(here, title, project, blue_green)
    if compose_bluegreen.is_unfinished(here, project):
        notes = (*notes, "a deploy was killed while traffic was moved: this one first settles what it left")
    found = choice.shown(found)
    if to is None:
        steps = (*(_with_placement(site, step) for step in found.steps), *_tuning(here, project))
        found = replace(found, steps=steps)
    return replace(found, warnings=(*notes, *found.warnings))


def _planned(
    here: ComposeSite, title: str, project: Project, blue_green: bool | None
) -> tuple[Plan, compose_bluegreen.Choice]:
    """What is made anew, and what of it goes beside: what depends on that is left alone."""
    may_move = frozenset(declared(here.site))
    planned = engine.plan(title, project, here.hands(), beside=may_move)
    choice = compose_bluegreen.choose(here, project, planned, blue_green)
    if may_move != frozenset(choice.rules):
        planned = engine.plan(title, project, here.hands(), beside=frozenset(choice.rules))
    return planned, choice


def _tuning(here: ComposeSite, project: Project) -> tuple[Step, ...]:
    """What does not fit the machine; of an engine on another one, nothing is known of that."""
    if not here.docker.is_local:
        return ()
    given = {
        name: given_to(one.get("environment") or {}, one.get("command"))
        for name, one in project.services.items()
    }
    return tuning.advice(here.site, given)


def _with_placement(site: Site, step: Step) -> Step:
    """A step of a plan that says where an added adapter goes."""
    words = placement(site.stack, step.subject.removeprefix("component/"))
    return replace(step, detail=f"{step.detail}; {words}") if words else step


def wanted(here: ComposeSite) -> Project:
    """The project as declared, with the replicas that scaling has chosen, which a deploy must not undo."""
    project, standing = here.project, before(here.site)
    for rule in here.site.stack.scaling.values():
        chooses = rule.mode != "observe" and rule.owner == "ops-pipelines"
        if standing is None or not chooses or rule.component not in project.services:
            continue
        count = replicas_of(standing, rule.component) if rule.component in standing.services else None
        if count is not None:
            project = with_replicas(project, rule.component, min(max(count, rule.minimum), rule.maximum))
    return project


reading = read_once
"""What is declared is read once within it, and begun to be read when it begins."""


def preflight(site: Site) -> tuple[Finding, ...]:
    """Everything that a deploy needs, the good findings too."""
    return compose_preflight.findings(compose_site(site))


def before(site: Site) -> Project | None:
    """The project of the newest revision; None where none was deployed on this target."""
    found = revisions.newest(site)
    return from_json(found.artifact) if found is not None and found.target == "compose" else None


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
    here = compose_site(site)
    findings = compose_preflight.findings(here)
    refuse(findings)
    project = (
        wanted(here) if earlier is None else engine.as_it_ran(from_json(earlier.artifact), here.hands())[0]
    )
    note = "deploy" if earlier is None else f"rollback to {earlier.number}"
    reason = "deploy" if earlier is None else "rollback"
    standing, limit = before(site), within(site)
    ran = engine.as_it_ran(standing, here.hands())[0] if standing is not None else project
    compose_bluegreen.finish(here, ran, within=limit, fence=fence, progress=progress)
    planned, choice = _planned(here, f"{reason.capitalize()} {site.name}", project, blue_green)

    def smoke() -> tuple[Finding, ...]:
        asked = asking.answers(site)
        return asked if earlier is None else asking.for_information(asked)

    def record(done: Project, watched: Sequence[Watched] = ()) -> int:
        words = revision_note(note, watched) if watched else note
        return revisions.record(site, to_json(done), by, words, of=earlier)

    if choice.moves:
        return bluegreen.deploy(
            site.name, project, choice.moves, compose_bluegreen.bench(here), plan=choice.shown(planned),
            before=standing, fence=fence, record=record, smoke=smoke, within=limit, reason=reason,
            findings=findings, progress=progress,
        )  # fmt: skip
    done = engine.deploy(
        site.name, project, here.hands(), plan=planned, before=standing, fence=fence, record=record, smoke=smoke,
        within=limit, reason=reason, findings=findings, progress=progress,
    )  # fmt: skip
    return replace(done, plan=choice.shown(done.plan))


def scale(site: Site, component: str, count: int, fence: Fence) -> None:
    """Bring one service to `count` containers. Raises UsageError for a stack that was never deployed."""
    standing = before(site)
    if standing is None or component not in standing.services:
        raise UsageError(
            f"{site.name} was never deployed with a component {component}, so there is nothing to scale",
            remedy=f"deploy it first: ops-pipelines deploy {site.name}",
        )
    here = ComposeSite(site)
    ran, _ = engine.as_it_ran(standing, here.hands())  # scaling brings no image that was built since
    compose_bluegreen.finish(here, ran, within=within(site), fence=fence, progress=silent)
    project, reason = with_replicas(ran, component, count), f"scaling of {component} to {count}"
    engine.deploy(
        site.name,
        project,
        here.hands(),
        plan=engine.plan(f"{reason.capitalize()} of {site.name}", project, here.hands()),
        before=standing,
        fence=fence,
        record=lambda done: revisions.record(
            site, to_json(done), "scaling", revisions.scale_note(component, count)
        ),
        smoke=no_smoke,
        within=within(site),
        reason=reason,
    )


def status(site: Site) -> tuple[ReplicaStatus, ...]:
    """Each container of the project, and each service that has none."""
    here = compose_site(site)
    seen = [one for one in here.docker.containers(here.target.project) if not one.oneoff]
    rows = [_row(site, one) for one in seen]
    absent = [name for name in site.stack.components if name not in {one.service for one in seen}]
    rows += [
        ReplicaStatus(name, name, "stopped", False, detail="is not deployed")
        for name in absent
        if site.stack.components[name].replicas
        and site.stack.components[name].address is None
        and site.stack.components[name].compose_profile in (None, *here.profiles)
    ]
    return tuple(rows)


def _uptime(container: Container) -> float | None:
    """Seconds since a container that runs was started, by this machine's clock."""
    if container.state != "running" or not container.started:
        return None
    begun = datetime.fromisoformat(f"{container.started[:19]}+00:00")  # the engine says nanoseconds, in UTC
    return max((now() - begun).total_seconds(), 0.0)


def _row(site: Site, container: Container) -> ReplicaStatus:
    healthy, words = replica_health(container)
    known = container.service in site.stack.components
    return ReplicaStatus(
        container.service,
        container.name,
        _STATES[container.state],
        healthy,
        uptime=_uptime(container),
        detail=words if known else f"{words}; the declaration does not name it",
    )


def replica_numbers(site: Site, component: str) -> tuple[int, ...] | None:
    """Numbers of a component's containers that run; None where that is unknown."""
    here = ComposeSite(site)
    try:
        seen = here.docker.containers(here.target.project)
    except OpsError:
        return None
    return tuple(one.number for one in seen if one.service == component and one.state == "running")


def drift(site: Site) -> Plan:
    """What differs between what runs and what is declared."""
    here = ComposeSite(site)
    return engine.plan(f"Drift of {site.name}", wanted(here), here.hands())


def running(site: Site, components: Sequence[str]) -> tuple[str, ...]:
    """Names of the containers of some components that run or would run again by themselves."""
    here = ComposeSite(site)
    return tuple(
        one.name
        for one in here.docker.containers(here.target.project)
        if one.service in components and one.state in ("running", "restarting")
    )


def halt(site: Site, name: str) -> None:
    """Stop one container for a while."""
    ComposeSite(site).docker.stop(name)


def resume(site: Site, name: str) -> bool:
    """Start one that `halt` stopped; False where it is not there any more."""
    here = ComposeSite(site)
    if name not in {one.name for one in here.docker.containers(here.target.project)}:
        return False
    here.docker.start(name)
    return True


def down(site: Site, *, volumes: bool, fence: Fence) -> Plan:
    """Stop and remove the project's containers and networks, and its volumes where asked; what was done."""
    here = ComposeSite(site)
    steps = down_plan(site, volumes=volumes)
    if volumes:
        _refuse_strangers(here, here.docker.volumes(here.target.project).values(), "removed")
    fence.check()
    here.tool(None).down(None, volumes=volumes, within=_DOWN)
    return steps


def require_free(site: Site, components: Sequence[str]) -> None:
    """Raise Refused where a container of somebody else may write to what some components have mounted."""
    here = ComposeSite(site)
    mounted = here.docker.mounts(here.target.project, components)
    folders = [
        mount.source for each in mounted for mount in each if Path(mount.source).is_dir()
    ]  # no sockets
    _refuse_strangers(here, folders, "replaced")


def _refuse_strangers(here: ComposeSite, sources: Iterable[str], what: str) -> None:
    ours = {one.name for one in here.docker.containers(here.target.project) if not one.oneoff}
    strangers = {name: held for name, held in here.docker.users(sources).items() if name not in ours}
    if strangers:
        held = "; ".join(f"container {name} uses {', '.join(each)}" for name, each in strangers.items())
        raise Refused(
            f"what is to be {what} is in use by containers that are not services of {here.site.name}: {held}",
            remedy=f"stop them first: docker stop {' '.join(strangers)}",
        )


def down_plan(site: Site, *, volumes: bool) -> Plan:
    """What `down` would remove."""
    here = ComposeSite(site)
    seen = here.docker.containers(here.target.project)
    kept = here.docker.volumes(here.target.project)
    steps = [Step("remove", f"container/{one.name}", f"it is {one.state}") for one in seen]
    verb: Verb = "remove" if volumes else "keep"
    steps += [
        Step(verb, f"volume/{name}", "with all that is in it" if volumes else "") for name in kept.values()
    ]
    return Plan(f"Take {site.name} down", tuple(steps))


def logs(site: Site, component: str | None, *, lines: int, follow: bool) -> int:
    """Show what containers print, on this terminal; 0 where that went well."""
    here = ComposeSite(site)
    project = before(site) or here.project
    if component is not None and component not in project.services:
        raise UsageError(
            f"{site.name} has no service {component!r}", remedy=f"its services: {', '.join(project.services)}"
        )
    return here.tool(project).logs(here.place(project), component, lines=lines, follow=follow)


def build(site: Site, components: Sequence[str]) -> int:
    """Build the images of the services that have a build section; 0 where that went well."""
    here = ComposeSite(site)
    project = here.project
    return here.tool(project).build(here.place(project), components)
