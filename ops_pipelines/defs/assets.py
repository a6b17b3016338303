"""The assets of one stack, from model blob to drill, and the restore."""

from __future__ import annotations

import dagster as dg

from ops_pipelines.defs import backup_assets, restore_assets, serving_assets
from ops_pipelines.wiring.site import Site


def stack_assets(site: Site) -> list[dg.AssetsDefinition]:
    """Every asset of a stack, in the order in which data flows."""
    stack = site.stack
    assets = [serving_assets.artifact(site)]
    if stack.caches:
        assets.append(serving_assets.model_cache(site))
    assets.append(serving_assets.deployment(site))
    if stack.collections:
        assets.append(serving_assets.collections(site))
    if stack.backup is not None:
        assets += [backup_assets.snapshot(site), backup_assets.drill(site), restore_assets.restore(site)]
    return assets
