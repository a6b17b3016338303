"""Deployments of one stack: plan, preflight, deploy, roll back, scale, on whatever target it runs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

from ops_pipelines.engines._deploy_needs import Deployed
from ops_pipelines.engines._deploy_preflight import refuse
from ops_pipelines.engines.ports import Fence, Progress, silent
from ops_pipelines.errors import UsageError
from ops_pipelines.policy.bluegreen import Watched
from ops_pipelines.policy.plan import Finding, Plan
from ops_pipelines.wiring import asking, before_deploy, connect, data, revisions
from ops_pipelines.wiring.artifacts import (
    Artifact,
    artifact,
    artifact_digest,
    plan_elsewhere,
    require_supported,
    supported,
    unsupported,
)
from ops_pipelines.wiring.asking import answers, smoke
from ops_pipelines.wiring.connect import lease, supervisor
from ops_pipelines.wiring.revisions import previous
from ops_pipelines.wiring.revisions import rows as revision_rows
from ops_pipelines.wiring.site import Site
from ops_pipelines.wiring.sources import source_notes
from ops_pipelines.wiring.status import (
    card_rows,
    drift_findings,
    health_findings,
    model_rows,
    replicas,
    status,
    status_rows,
)
from ops_pipelines.wiring.targets import on

__all__ = [
    "Artifact", "DeployResult", "answers", "artifact", "build", "card_rows", "deploy", "down", "down_plan",
    "drift_findings", "health_findings", "logs", "model_rows", "plan", "plan_and_preflight", "preflight", "previous",
    "replicas", "require_preflight", "require_supported", "revision_rows", "scale_held", "set_replicas", "smoke",
    "standing", "status", "status_rows", "supervisor", "supported",
]  # fmt: skip


def plan(site: Site, *, to: int | None = None, blue_green: bool | None = None) -> Plan:
    """What a deploy (or going back to revision `to`) would change. Nothing is started or changed by it.

    `blue_green`: whether new versions start beside the old ones; None: as declared."""
    if not supported(site):
        return plan_elsewhere(site)
    planned = on(site).plan(site, to=to, blue_green=blue_green)
    if to is not None:
        return planned
    return replace(planned, warnings=(*planned.warnings, *source_notes(site)))


def preflight(site: Site) -> tuple[Finding, ...]:
    """Everything that a deploy needs, the good findings too. Nothing is changed by it."""
    if not supported(site):
        return (unsupported(site), *data.probe_models(site), *before_deploy.findings(site))
    return (*on(site).preflight(site), *before_deploy.findings(site), *asking.missing_models(site))


def plan_and_preflight(site: Site, *, blue_green: bool | None = None) -> tuple[Plan, tuple[Finding, ...]]:
    """Both, of one reading of what is declared."""
    with on(site).reading(site) if supported(site) else nullcontext():
        return plan(site, blue_green=blue_green), preflight(site)


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
    watched: tuple[Watched, ...] = ()
    """What was seen of new versions beside the old ones."""


def deploy(
    site: Site,
    *,
    to: int | None = None,
    by: str,
    progress: Progress = silent,
    blue_green: bool | None = None,
) -> DeployResult:
    """Bring the stack to its declaration, or back to revision `to`, under its lease.

    `blue_green`: whether new versions start beside the old ones; None: as declared.

    Raises TargetUnsupported, LeaseHeld, PreflightFailed (nothing changed), DeployFailed (put back).
    """
    require_supported(site)
    if to is None:
        refuse(before_deploy.findings(site))
    purpose = "deploy" if to is None else f"go back to revision {to}"
    with on(site).reading(site), lease(site, f"{purpose} ({by})") as fence:
        earlier = revisions.read(site, to) if to is not None else None
        notes = revisions.differences(site, earlier) if earlier is not None else ()
        done = on(site).deploy(
            site, earlier=earlier, by=by, fence=fence, progress=progress, blue_green=blue_green
        )
        result = _result(site, done)
        return replace(result, plan=replace(result.plan, warnings=(*notes, *result.plan.warnings)))


def _result(site: Site, done: Deployed) -> DeployResult:
    newest = revisions.newest(site)
    return DeployResult(
        plan=done.plan,
        revision=newest.number if newest else None,
        recorded=done.revision is not None,
        digest=artifact_digest(newest.artifact if newest else []),
        findings=done.findings,
        seconds=done.seconds,
        watched=done.watched,
    )


def standing(site: Site, plan: Plan) -> DeployResult:
    """What stands now, in the words of a deploy that had nothing to do. Nothing is changed."""
    newest = revisions.newest(site)
    found = (Finding(site.name, True, "what runs is what is declared"),)
    number = newest.number if newest else None
    digest = artifact_digest(newest.artifact if newest else [])
    return DeployResult(plan, number, False, digest, found, 0.0)


def scale_held(site: Site, component: str, count: int, fence: Fence) -> None:
    """Bring one component to `count` replicas, by a holder of the stack's lease.

    Raises UsageError for a stack that was never deployed: scaling starts none.
    """
    on(site).scale(site, component, count, fence)


def set_replicas(site: Site, component: str, count: int) -> None:
    """Bring one component to `count` replicas, by hand, under the stack's lease.

    Raises UsageError for an unknown component, a stack that was never deployed, or a component whose replicas somebody
    else decides (a scaling rule with another owner)."""
    require_supported(site)
    connect.component(site, component)
    for name, rule in site.stack.scaling.items():
        if rule.component == component and rule.owner != "ops-pipelines":
            raise UsageError(
                f"the replicas of {component} are decided by {rule.owner} (scaling.{name})",
                remedy=f"change them there, or set scaling.{name}.owner to ops-pipelines",
            )
    with lease(site, f"scale {component} to {count}") as fence:
        on(site).scale(site, component, count, fence)


def down(site: Site, *, volumes: bool) -> Plan:
    """Stop and remove what runs of a stack, under its lease. Its data stays, unless `volumes` says otherwise."""
    require_supported(site)
    with lease(site, "take it down") as fence:
        return on(site).down(site, volumes=volumes, fence=fence)


def down_plan(site: Site, *, volumes: bool) -> Plan:
    """What `down` would stop and remove."""
    require_supported(site)
    return on(site).down_plan(site, volumes=volumes)


def logs(site: Site, component: str | None, *, lines: int, follow: bool) -> int:
    """Show what a component (None: all) prints, on this terminal; 0 where that went well."""
    require_supported(site)
    return on(site).logs(site, component, lines=lines, follow=follow)


def build(site: Site, components: Sequence[str]) -> int:
    """Build images, on this terminal; 0 where that went well."""
    require_supported(site)
    return on(site).build(site, components)
