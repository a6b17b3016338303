"""Deployments of one stack: plan, preflight, deploy, roll back, scale. Target `process` for now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ops_pipelines.adapters._supervisor_resting import resting
from ops_pipelines.engines import deploy as engine
from ops_pipelines.engines._deploy_needs import Deployed, RevisionFacts
from ops_pipelines.engines._deploy_preflight import refuse
from ops_pipelines.engines.ports import Fence, Progress, Supervisor, silent
from ops_pipelines.engines.revisions import Revision
from ops_pipelines.errors import UsageError
from ops_pipelines.policy.plan import Finding, Plan
from ops_pipelines.policy.processes import programs_from_json
from ops_pipelines.wiring import asking, data, revisions
from ops_pipelines.wiring.artifacts import (
    Artifact,
    artifact,
    plan_elsewhere,
    programs_digest,
    require_supported,
    supported,
    unsupported,
)
from ops_pipelines.wiring.asking import smoke
from ops_pipelines.wiring.connect import lease, places, supervisor, tools
from ops_pipelines.wiring.revisions import previous
from ops_pipelines.wiring.revisions import rows as revision_rows
from ops_pipelines.wiring.site import Site
from ops_pipelines.wiring.status import drift_findings, health_findings, replicas, status, status_rows

__all__ = [
    "Artifact", "DeployResult", "artifact", "deploy", "drift_findings", "health_findings", "plan", "preflight",
    "previous", "replicas", "require_preflight", "require_supported", "revision_rows", "scale_held", "smoke",
    "standing", "status", "status_rows", "supervisor", "supported",
]  # fmt: skip

_RESTS = (
    "supervisord does not run on this machine: a deploy starts it, and with it every program that it knows"
)


def plan(site: Site, *, to: int | None = None) -> Plan:
    """What a deploy (or going back to revision `to`) would change. Nothing is started or changed by it."""
    if not supported(site):
        return plan_elsewhere(site)
    manager, notes = _looked_at(site)
    before = revisions.before(site)
    if to is None:
        found = engine.plan(revisions.scaled(site, before), places(site), manager, before=before)
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
    """Everything that a deploy needs, the good findings too. Nothing is changed by it."""
    if not supported(site):
        return (unsupported(site), *data.probe_models(site))
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
    return (*found, *asking.unused_settings(site), *asking.missing_models(site))


def require_preflight(site: Site) -> None:
    """Raise PreflightFailed with all that a deploy lacks, before anything is pulled for it."""
    require_supported(site)
    refuse(preflight(site))


@dataclass(frozen=True)
class DeployResult:
    """What a deploy did."""

    plan: Plan
    revision: int | None
    """The revision that stands now; None where none was ever recorded."""
    recorded: bool
    """False where nothing had changed."""
    digest: str
    findings: tuple[Finding, ...]
    seconds: float


def deploy(site: Site, *, to: int | None = None, by: str, progress: Progress = silent) -> DeployResult:
    """Bring the stack to its declaration, or back to revision `to`, under its lease.

    Raises TargetUnsupported, LeaseHeld, PreflightFailed (nothing changed), DeployFailed (put back).
    """
    require_supported(site)
    purpose = "deploy" if to is None else f"go back to revision {to}"
    with lease(site, f"{purpose} ({by})") as fence:
        earlier = revisions.read(site, to) if to is not None else None
        supervisor(site.settings).ensure_running()
        if earlier is None:
            return _result(site, _forward(site, by, fence, progress))
        notes = revisions.differences(site, earlier)
        result = _result(site, _back(site, earlier, by, fence, progress))
        return replace(result, plan=replace(result.plan, warnings=(*notes, *result.plan.warnings)))


def _forward(site: Site, by: str, fence: Fence, progress: Progress) -> Deployed:
    before = revisions.before(site)
    return engine.deploy(
        revisions.scaled(site, before),
        places(site),
        tools(supervisor(site.settings), site.settings),
        fence=fence,
        record=_recorder(site, by),
        smoke=lambda: smoke(site),
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
        record=lambda facts: revisions.record(site, facts, by, f"rollback to {earlier.number}", of=earlier),
        smoke=lambda: _for_information(smoke(site)),
        before=revisions.before(site),
        progress=progress,
    )


def _recorder(site: Site, by: str) -> Callable[[RevisionFacts], int]:
    return lambda facts: revisions.record(site, facts, by, facts.reason)


def _for_information(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """The smoke test is that of today's declaration, which an earlier revision may rightly not answer: its
    programs are healthy, and that must do. Who rolls back at night is told, and not put back to what was bad."""
    return tuple(replace(one, severity="warning") for one in findings)


def _result(site: Site, done: Deployed) -> DeployResult:
    newest = revisions.newest(site)
    return DeployResult(
        plan=done.plan,
        revision=newest.number if newest else None,
        recorded=done.revision is not None,
        digest=programs_digest(programs_from_json(newest.artifact) if newest else ()),
        findings=done.findings,
        seconds=done.seconds,
    )


def standing(site: Site, plan: Plan) -> DeployResult:
    """What stands now, in the words of a deploy that had nothing to do. Nothing is changed."""
    newest = revisions.newest(site)
    found = (Finding(site.name, True, "what runs is what is declared"),)
    number = newest.number if newest else None
    return DeployResult(plan, number, False, programs_digest(revisions.before(site)), found, 0.0)


def scale_held(site: Site, component: str, count: int, fence: Fence) -> None:
    """Bring one component to `count` replicas, by a holder of the stack's lease.

    Raises UsageError for a stack that was never deployed: scaling starts none.
    """
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
