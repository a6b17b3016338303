"""The hourly look at a live stack: is it still as declared? One op for all of a stack's checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import dagster as dg

from ops_pipelines.defs import names
from ops_pipelines.defs.making import Events, make_checks
from ops_pipelines.defs.metadata import check_result, unknown_check
from ops_pipelines.defs.scaling import AS_DECIDED, scaling_findings
from ops_pipelines.errors import OpsError
from ops_pipelines.policy.plan import Finding
from ops_pipelines.wiring import data, deployments, sources
from ops_pipelines.wiring.hooks import let_go
from ops_pipelines.wiring.site import Site

_AT_SOURCE = "at_source"
_CHECKS: Mapping[tuple[str, str], tuple[str, Callable[[Site], Sequence[Finding]]]] = {
    ("model_cache", "complete"): (
        "Every model that is wanted is there, whole, the same in each replica.",
        data.model_findings,
    ),
    ("model_cache", _AT_SOURCE): (
        "No tag of a model has moved at registry or hub. Asked once a day; a warning, never an error.",
        sources.source_findings,
    ),
    ("deployment", "healthy"): ("Every replica of every component answers.", deployments.health_findings),
    ("deployment", "as_declared"): (
        "What runs is what is declared; nothing was changed by hand.",
        deployments.drift_findings,
    ),
    ("collections", "as_declared"): (
        "Schema, index, dimension and alias are those of the declaration, and the rows are there.",
        data.collection_findings,
    ),
    ("scaling", AS_DECIDED): ("No scaling decision waits for somebody, and readings come.", scaling_findings),
}


def observed(site: Site) -> list[dg.AssetCheckKey]:
    """Everything that is observed of a stack."""
    absent = {
        thing
        for thing, there in (
            ("model_cache", site.stack.caches),
            ("collections", site.stack.collections),
            ("scaling", site.stack.scaling),
        )
        if not there
    }
    return [
        dg.AssetCheckKey(names.key(site.name, thing), name)
        for thing, name in _CHECKS
        if thing not in absent and (name != _AT_SOURCE or sources.asked_of(site))
    ]


def stack_checks(site: Site) -> dg.AssetChecksDefinition:
    """All live checks of a stack."""
    keys = observed(site)
    specs = [dg.AssetCheckSpec(key.name, asset=key.asset_key, description=_described(key)[0]) for key in keys]

    def observe(context: dg.AssetCheckExecutionContext) -> Events:
        let_go(site)
        for key in keys:
            if key not in context.selected_asset_check_keys:
                continue
            try:
                yield check_result(key.asset_key, key.name, _described(key)[1](site))
            except OpsError as error:
                yield unknown_check(key.asset_key, key.name, error)

    return make_checks(
        site, "observe", observe, specs, f"Compares what runs of {site.name} with its declaration."
    )


def _described(key: dg.AssetCheckKey) -> tuple[str, Callable[[Site], Sequence[Finding]]]:
    return _CHECKS[key.asset_key.path[-1], key.name]
