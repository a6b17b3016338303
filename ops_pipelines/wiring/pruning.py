"""Old snapshots of one stack, and blobs that nothing names, removed."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from ops_pipelines.engines import prune as engine
from ops_pipelines.engines.sweep import sweep, sweep_plan
from ops_pipelines.errors import FormatTooNew, SnapshotDamaged
from ops_pipelines.policy.plan import Plan
from ops_pipelines.wiring.connect import backup_of, holder, layout, lease, object_store
from ops_pipelines.wiring.site import Site


def plan_prune(site: Site) -> Plan:
    """Which snapshots and unreferenced blobs would go, and why the others stay."""
    store, keys = object_store(site), layout(site)
    declared = backup_of(site)
    plan = engine.prune_plan(store, keys, site.name, declared.keep, zone=ZoneInfo(declared.timezone))
    try:
        waste = sweep_plan(store, keys)
    except (SnapshotDamaged, FormatTooNew) as error:
        waste = Plan("sweep", (), (f"{error.message}; {error.remedy}",))
    return Plan(f"Prune {site.name}", (*plan.steps, *waste.steps), (*plan.warnings, *waste.warnings))


def prune(site: Site, *, by: str) -> Plan:
    """Remove what `backup.keep` lets go, then the blobs that nothing names. Returns what was done.

    Raises what the sweep raises, saying how many snapshots were removed before.
    """
    store, keys, declared = object_store(site), layout(site), backup_of(site)
    with lease(site, f"prune ({by})") as fence:
        zone = ZoneInfo(declared.timezone)
        plan = engine.prune(store, keys, site.name, declared.keep, fence=fence, zone=zone)
    try:
        waste = sweep(store, keys, holder=holder(), ttl=declared.lease)
    except (SnapshotDamaged, FormatTooNew) as error:
        done = f"{len(plan.changes)} snapshots of {site.name} were removed, their blobs were not: "
        raise type(error)(done + error.message, remedy=error.remedy) from error
    return Plan(f"Prune {site.name}", (*plan.steps, *waste.steps), (*plan.warnings, *waste.warnings))
