"""Target `process` of one stack: plain processes of this machine, kept by supervisord."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from ops_pipelines.adapters._process import hand_over
from ops_pipelines.adapters._supervisor_resting import resting
from ops_pipelines.engines import deploy as engine
from ops_pipelines.engines._deploy_needs import Deployed, ReplicaStatus, RevisionFacts
from ops_pipelines.engines.ports import Fence, Progress, Supervisor
from ops_pipelines.engines.revisions import Revision
from ops_pipelines.errors import OpsError, UsageError
from ops_pipelines.policy.plan import Finding, Plan
from ops_pipelines.policy.processes import programs_from_json, programs_to_json
from ops_pipelines.policy.tuning import given_to
from ops_pipelines.wiring import asking, revisions, tuning
from ops_pipelines.wiring.connect import places, supervisor, tools
from ops_pipelines.wiring.site import Site

_UP = ("running", "starting", "backoff", "exited")
_AT_REST = ("stopped", "stopping", "fatal")
_RESTS = (
    "supervisord does not run on this machine: a deploy starts it, and with it every program that it knows"
)


def plan(site: Site, *, to: int | None = None, blue_green: bool | None = None) -> Plan:
    """What a deploy (or going back to revision `to`) would change."""
    _in_place(blue_green)
    manager, notes = _looked_at(site)
    before = revisions.before(site)
    if to is None:
        found = engine.plan(revisions.scaled(site, before), places(site), manager, before=before)
        given = {n: given_to(one.environment, one.command) for n, one in site.stack.components.items()}
        found = replace(found, steps=(*found.steps, *tuning.advice(site, given)))
    else:
        earlier = revisions.read(site, to)
        wanted = programs_from_json(earlier.artifact)
        found = engine.plan_programs(site.name, wanted, manager, before=before)
        found = replace(found, title=f"go back to revision {to} of {site.name}")
        notes += revisions.differences(site, earlier)
    return replace(found, warnings=(*notes, *found.warnings))


def _looked_at(site: Site) -> tuple[Supervisor, tuple[str, ...]]:
    """What answers for the programs of this machine, also where supervisord does not run."""
    manager = supervisor(site.settings)
    asleep = resting(manager)
    return (asleep, (_RESTS,)) if asleep else (manager, ())


def preflight(site: Site) -> tuple[Finding, ...]:
    """Everything that a deploy needs, the good findings too."""
    before = revisions.before(site)
    manager, _ = _looked_at(site)
    hands = replace(tools(supervisor(site.settings), site.settings), supervisor=manager)
    found = engine.preflight(
        revisions.scaled(site, before),
        places(site),
        hands,
        before=before,
        checks=lambda: asking.dimensions(site),
    )
    return (*found, *asking.unused_settings(site))


def reading(site: Site) -> AbstractContextManager[None]:
    """Nothing: what is declared was read already."""
    del site
    return nullcontext()


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
    _in_place(blue_green)
    supervisor(site.settings).ensure_running()
    if earlier is None:
        return _forward(site, by, fence, progress)
    return _back(site, earlier, by, fence, progress)


def _in_place(blue_green: bool | None) -> None:
    if blue_green:
        raise UsageError(
            "on target process programs are replaced in place, with no proxy to move traffic",
            remedy="deploy without --blue-green, or choose a profile with target compose",
        )


def _forward(site: Site, by: str, fence: Fence, progress: Progress) -> Deployed:
    before = revisions.before(site)
    return engine.deploy(
        revisions.scaled(site, before),
        places(site),
        tools(supervisor(site.settings), site.settings),
        fence=fence,
        record=_recorder(site, by),
        smoke=lambda: asking.answers(site),
        before=before,
        checks=lambda: asking.dimensions(site),
        progress=progress,
    )


def _back(site: Site, earlier: Revision, by: str, fence: Fence, progress: Progress) -> Deployed:
    return engine.rollback(
        site.name,
        programs_from_json(earlier.artifact),
        tools(supervisor(site.settings), site.settings),
        fence=fence,
        record=_recorder(site, by, earlier),
        smoke=lambda: asking.for_information(asking.answers(site)),
        before=revisions.before(site),
        progress=progress,
    )


def _recorder(site: Site, by: str, of: Revision | None = None) -> Callable[[RevisionFacts], int]:
    def record(facts: RevisionFacts) -> int:
        note = facts.reason if of is None else f"rollback to {of.number}"
        return revisions.record(site, programs_to_json(facts.programs), by, note, of=of)

    return record


def scale(site: Site, component: str, count: int, fence: Fence) -> None:
    """Bring one component to `count` replicas. Raises UsageError for a stack that was never deployed."""
    before = revisions.before(site)
    if not before:
        raise UsageError(
            f"{site.name} was never deployed, so there is nothing to scale",
            remedy=f"deploy it first: ops-pipelines deploy {site.name}",
        )
    engine.scale(
        site.stack,
        places(site),
        component,
        count,
        tools(supervisor(site.settings), site.settings),
        fence=fence,
        record=_recorder(site, "scaling"),
        before=before,
    )


def status(site: Site) -> tuple[ReplicaStatus, ...]:
    """Each replica as it is now."""
    try:
        declared = revisions.scaled(site, revisions.before(site))
    except OpsError:  # without the bucket, what is declared must do
        declared = site.stack
    return engine.status(declared, places(site), tools(supervisor(site.settings), site.settings))


def replica_numbers(site: Site, component: str) -> tuple[int, ...] | None:
    """Numbers of the replicas of a component that are up or coming up; None where that is unknown.

    One that was stopped or has given up carries no load.
    """
    try:
        seen = supervisor(site.settings).status()
    except OpsError:
        return None
    start = f"{site.name}.{component}."
    ours = {name.removeprefix(start): one.state for name, one in seen.items() if name.startswith(start)}
    if "unknown" in ours.values():
        return None
    return tuple(
        sorted(int(word) for word, state in ours.items() if word.isdecimal() and state not in _AT_REST)
    )


def drift(site: Site) -> Plan:
    """What differs between what runs and what is declared. Raises Unreachable where what runs is unknown."""
    earlier = revisions.before(site)
    return engine.plan(
        revisions.scaled(site, earlier), places(site), supervisor(site.settings), before=earlier
    )


def running(site: Site, components: Sequence[str]) -> tuple[str, ...]:
    """Names of the programs of some components that run or would run again by themselves."""
    manager = supervisor(site.settings)
    if not manager.running():
        return ()
    starts = tuple(f"{site.name}.{name}." for name in components)
    return tuple(
        name for name, one in manager.status().items() if name.startswith(starts) and one.state in _UP
    )


def require_free(site: Site, components: Sequence[str]) -> None:
    """Nothing to ask: who else has a file of this machine open is not looked for."""
    del site, components


def halt(site: Site, name: str) -> None:
    """Stop one program for a while."""
    supervisor(site.settings).stop(name)


def resume(site: Site, name: str) -> bool:
    """Start one that `halt` stopped; False where it is not there any more."""
    manager = supervisor(site.settings)
    if name not in manager.status():
        return False
    manager.start(name)
    return True


def down(site: Site, *, volumes: bool, fence: Fence) -> Plan:
    """Stop and forget every program of the stack; logs and data stay. Returns what was done."""
    _require_no_volumes(site, volumes=volumes)
    hands = tools(supervisor(site.settings), site.settings)
    return engine.remove(site.name, hands, fence=fence, before=revisions.before(site))


def down_plan(site: Site, *, volumes: bool) -> Plan:
    """What `down` would stop."""
    _require_no_volumes(site, volumes=volumes)
    manager, notes = _looked_at(site)
    found = engine.plan_programs(site.name, (), manager, before=revisions.before(site))
    return replace(found, title=f"Take {site.name} down", warnings=notes)


def _require_no_volumes(site: Site, *, volumes: bool) -> None:
    if volumes:
        raise UsageError(
            f"{site.name} runs as plain processes, which have no volumes",
            remedy="leave --volumes out; its folders stay, and are yours to remove",
        )


def logs(site: Site, component: str | None, *, lines: int, follow: bool) -> int:
    """Show what programs print, on this terminal; 0 where that went well."""
    start = f"{site.name}." + (f"{component}." if component else "")
    folder = supervisor(site.settings).folder
    files = [folder.program_log(name) for name in folder.declared() if name.startswith(start)]
    files = [file for file in files if file.is_file()]
    if not files:
        raise UsageError(
            f"nothing of {component or site.name} has a log here",
            remedy=f"deploy it: ops-pipelines deploy {site.name}",
        )
    words = ["tail", "-n", str(lines), *(["-F"] if follow else []), *map(str, files)]
    return hand_over(words, remedy="install coreutils", environ=site.settings.environ)


def build(site: Site, components: Sequence[str]) -> int:
    """Plain processes are built from nothing. Raises UsageError."""
    del components
    raise UsageError(
        f"{site.name} runs as plain processes: there is no image to build", remedy="deploy it as it is"
    )
