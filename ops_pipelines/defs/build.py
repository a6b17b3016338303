"""All definitions of a fleet."""

from __future__ import annotations

from dataclasses import replace

import dagster as dg

from ops_pipelines.defs import names, operating
from ops_pipelines.defs.assets import stack_assets
from ops_pipelines.defs.broken import broken_asset, broken_check
from ops_pipelines.defs.checks import stack_checks
from ops_pipelines.defs.jobs import JOBS
from ops_pipelines.defs.model_jobs import MODEL_JOBS
from ops_pipelines.defs.running import FLEET
from ops_pipelines.defs.scaling import scaling_asset
from ops_pipelines.defs.schedules import stack_schedules
from ops_pipelines.defs.sensors import fleet_sensors
from ops_pipelines.stack.loader import BrokenStack, LoadedStack, Problem
from ops_pipelines.wiring.site import Fleet


def build(fleet: Fleet) -> dg.Definitions:
    """Definitions of every stack of the fleet, the broken ones included."""
    fleet = _told_apart(fleet)
    sites = fleet.sites()
    return dg.Definitions(
        assets=[
            *(asset for site in sites for asset in stack_assets(site)),
            *(scaling_asset(site) for site in sites if site.stack.scaling),
            *(broken_asset(broken) for broken in fleet.broken),
        ],
        asset_checks=[
            *(stack_checks(site) for site in sites),
            *(broken_check(broken) for broken in fleet.broken),
        ],
        schedules=[schedule for site in sites for schedule in stack_schedules(site)],
        sensors=fleet_sensors(fleet),
        jobs=[*JOBS, *MODEL_JOBS, *operating.JOBS],
        resources={FLEET: fleet},
        executor=dg.in_process_executor,
    )


def _told_apart(fleet: Fleet) -> Fleet:
    """Dagster takes `-` for `_` in the names of steps: of `a-b` and `a_b`, the second is shown as broken."""
    first: dict[str, LoadedStack] = {}
    broken = list(fleet.broken)
    for loaded in fleet.stacks:
        other = first.setdefault(names.group(loaded.stack.stack), loaded)
        if other is not loaded:
            broken.append(_mistakable(loaded, other))
    taken = set(first)
    return replace(fleet, stacks=tuple(first.values()), broken=tuple(_renamed(one, taken) for one in broken))


def _mistakable(loaded: LoadedStack, other: LoadedStack) -> BrokenStack:
    name = loaded.stack.stack
    found = f"`{name}`, which Dagster cannot tell from `{other.stack.stack}`"
    remedy = f"rename one of them; the other is declared in {other.path}"
    problem = Problem(*loaded.position("stack"), "stack", found, "it is not loaded", remedy)
    return BrokenStack(loaded.path, name, (problem,))


def _renamed(broken: BrokenStack, taken: set[str]) -> BrokenStack:
    name, number = broken.name, 2
    while names.group(name) in taken:
        name, number = f"{broken.name}-{number}", number + 1
    taken.add(names.group(name))
    return replace(broken, name=name)
