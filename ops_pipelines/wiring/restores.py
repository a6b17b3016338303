"""A snapshot of one stack put back: the plan, and the switch while its servers rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ops_pipelines.engines import restore as engine
from ops_pipelines.engines import snapshots
from ops_pipelines.engines.ports import Progress, silent
from ops_pipelines.engines.restore import RestoreResult
from ops_pipelines.policy.plan import Plan
from ops_pipelines.wiring import parts as part_wiring
from ops_pipelines.wiring.connect import layout, lease, now, object_store
from ops_pipelines.wiring.drills import BY_DRILL
from ops_pipelines.wiring.listing import listed, load
from ops_pipelines.wiring.restarting import Rest, restart_steps
from ops_pipelines.wiring.site import Site


def plan_restore(
    site: Site, snapshot: str, *, parts: Sequence[str] | None = None, into: str | None = None
) -> Plan:
    """What a restore would do."""
    manifest = load(site, snapshot)
    pending = engine.pending_restore(site.state, site.name)
    plan = engine.plan_restore(manifest, part_wiring.targets(site, manifest), parts, into, pending=pending)
    if into is None:
        switched = [one.subject.partition(" ")[0] for one in plan.steps if one.verb == "switch"]
        plan = replace(plan, steps=(*plan.steps, *restart_steps(site, dict.fromkeys(switched))))
    info = next((one for one in listed(site) if one.id == snapshot), None)
    if info is not None and info.facts.bad:
        return replace(plan, warnings=(_failed(site, snapshot), *plan.warnings))
    return plan


def _failed(site: Site, snapshot: str) -> str:
    """The warning of a snapshot that failed: by what, and when."""
    facts = snapshots.read_mark(object_store(site), layout(site), site.name, snapshot, "failed") or {}
    what = "drill" if facts.get("by") == BY_DRILL else "last check"
    at = f" at {facts['at']}" if "at" in facts else ""
    return (
        f"{snapshot} FAILED its {what}{at}: it may not be whole, or not answer as before; "
        f"`ops-pipelines snapshots {site.name}` lists others"
    )


def restore(
    site: Site,
    snapshot: str,
    *,
    parts: Sequence[str] | None = None,
    into: str | None = None,
    by: str,
    progress: Progress = silent,
) -> RestoreResult:
    """Put a snapshot back, under the stack's lease. What serves a restored model rests while that is switched.

    A server that could not be started again is a finding of the first part: the data is live all the same.
    """
    store, keys = object_store(site), layout(site)
    manifest = load(site, snapshot)
    with lease(site, f"restore of {snapshot} ({by})") as fence:
        rest = Rest(site, fence)
        try:
            result = engine.restore(
                manifest,
                rest.wrap(part_wiring.targets(site, manifest)),
                store=store,
                layout=keys,
                fence=fence,
                parts=parts,
                into=into,
                state=site.state,
                progress=progress,
                clock=now,
                spare=part_wiring.is_drill_place,
            )
        finally:
            if into is None:
                rest.end()  # those that a killed run left at rest
    if not rest.findings or not result.parts:
        return result
    first, *others = result.parts
    found = dict.fromkeys((*first.findings, *rest.findings))
    return replace(result, parts=(replace(first, findings=tuple(found)), *others))
