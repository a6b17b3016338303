"""Target `kubernetes` of one stack: its chart rendered, planned, applied, watched, put back, looked at."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from ops_pipelines.engines import kube as engine
from ops_pipelines.engines import kube_bluegreen as beside
from ops_pipelines.engines._deploy_needs import Deployed
from ops_pipelines.engines._deploy_preflight import refuse
from ops_pipelines.engines.ports import Fence, Progress
from ops_pipelines.engines.revisions import Revision
from ops_pipelines.errors import Refused, UsageError
from ops_pipelines.policy.bluegreen import revision_note
from ops_pipelines.policy.kube_diff import by_hand
from ops_pipelines.policy.kube_release import Release, from_json, with_replicas
from ops_pipelines.policy.kube_replicas import candidates
from ops_pipelines.policy.plan import Finding, Plan
from ops_pipelines.wiring import asking, kube_bluegreen, kube_preflight, revisions
from ops_pipelines.wiring.kube_logs import logs
from ops_pipelines.wiring.kube_removal import down, down_plan
from ops_pipelines.wiring.kube_rest import halt, require_free, resume, running
from ops_pipelines.wiring.kube_scaling import scale
from ops_pipelines.wiring.kube_site import KubeSite, within
from ops_pipelines.wiring.kube_state import before, record, replica_numbers, status
from ops_pipelines.wiring.site import Site


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
    title = f"{reason.capitalize()} {site.name}"
    findings, looked = kube_preflight.findings(here, title, release, all_of_them=False)
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
            record=lambda done, watched: record(here, done, by, revision_note(note, watched), earlier),
            force_conflicts=here.target.force_conflicts, progress=progress,
        )  # fmt: skip
    return engine.deploy(
        site.name, replace(looked, plan=choice.shown(looked.plan)), here.hands, before=before(site),
        fence=fence, smoke=smoke, within=within(site),
        record=lambda done: record(here, done, by, note, earlier), reason=reason, findings=findings,
        force_conflicts=here.target.force_conflicts, progress=progress,
    )  # fmt: skip


def drift(site: Site) -> Plan:
    """What differs between what runs and what is declared."""
    here = KubeSite(site)
    looked = here.look(f"Drift of {site.name}", wanted(here))
    names = {key: name for name, key in here.workloads(looked.objects).items()}
    steps = (*looked.plan.steps, *by_hand(looked.tried, names))
    return replace(looked.plan, steps=steps)


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
