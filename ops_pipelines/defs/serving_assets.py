"""What serves: the artifact, the model cache, the deployment, the collections.

Each of them looks first. What would change something is done only where the launchpad says so; else the run shows the
plan and materialises nothing.
"""

from __future__ import annotations

from typing import Any

import dagster as dg

from ops_pipelines.defs import names
from ops_pipelines.defs.configs import CollectionsConfig, DeployConfig, FillConfig, NoConfig
from ops_pipelines.defs.making import Events, make_asset
from ops_pipelines.defs.metadata import (
    check_result,
    findings_metadata,
    plan_metadata,
    plan_text,
    table,
    watched_metadata,
)
from ops_pipelines.defs.running import LogProgress, failures
from ops_pipelines.policy import serving
from ops_pipelines.policy.models import Inventory
from ops_pipelines.policy.plan import Plan
from ops_pipelines.policy.words import size_in_words
from ops_pipelines.wiring import data, deployments, linting
from ops_pipelines.wiring.connect import caches
from ops_pipelines.wiring.site import Site


def artifact(site: Site) -> dg.AssetsDefinition:
    """What the target is given, rendered and linted."""
    target = site.stack.target.kind

    def run(_context: dg.AssetExecutionContext, _config: NoConfig) -> Events:
        with failures():
            rendered = deployments.artifact(site)
            findings = linting.lint(site)
        yield dg.MaterializeResult(
            data_version=dg.DataVersion(rendered.digest[:16]),
            metadata={
                "profile": site.loaded.profile or "none",
                "target": target,
                "rendered": dg.MetadataValue.md(f"```\n{rendered.text}\n```"),
                "declaration": dg.MetadataValue.path(str(site.loaded.path)),
            },
        )
        yield check_result(names.key(site.name, "artifact"), "lint", findings)

    return make_asset(
        site,
        "artifact",
        run,
        NoConfig,
        kinds={"yaml", names.kind(target)},
        description=f"What target `{target}` is given for {site.name}, rendered and linted.",
        checks={"lint": "No known fault is in the declaration."},
    )


def model_cache(site: Site) -> dg.AssetsDefinition:
    """The model files, pulled where the launchpad says so."""
    layouts = {names.kind(cache.layout) for cache in site.stack.caches.values()}

    def run(context: dg.AssetExecutionContext, config: FillConfig) -> Events:
        with failures():
            plan = data.plan_fill(site)
            if not plan.empty and not config.apply:
                yield dry_run(context, plan)
                return
            progress = LogProgress(context)
            inventories = data.fill(site, progress) if config.apply else data.inventories(site, progress)
        yield dg.MaterializeResult(
            data_version=dg.DataVersion(data.cache_digest(inventories)[:16]),
            metadata={
                "models": table(_models(inventories)),
                "size": size_in_words(sum(inventory.size for inventory in inventories)),
                "bytes": sum(inventory.size for inventory in inventories),
                "files": sum(len(inventory.files) for inventory in inventories),
                "files hashed": sum(inventory.hashed for inventory in inventories),
                "folders": "\n".join(str(path) for paths in caches(site).values() for path in paths),
            },
        )

    return make_asset(
        site,
        "model_cache",
        run,
        FillConfig,
        kinds=set(sorted({*layouts, "file"})[:3]),
        description=(
            f"Model files of {site.name}: {', '.join(site.stack.models) or 'none'}. "
            "Inventoried by digest, each replica by itself."
        ),
        always=False,
    )


def deployment(site: Site) -> dg.AssetsDefinition:
    """What runs: planned always, changed where the launchpad says so."""
    deps = ["artifact", "model_cache"] if site.stack.caches else ["artifact"]

    def run(context: dg.AssetExecutionContext, config: DeployConfig) -> Events:
        to = config.rollback_to or None
        with failures():
            plan = deployments.plan(site, to=to, blue_green=config.beside)
            if not config.apply and not (plan.empty and deployments.supported(site)):
                yield dry_run(context, plan)
                return
            if config.apply:
                context.log.info(plan_text(plan))
                by, progress = f"run {context.run_id}", LogProgress(context)
                result = deployments.deploy(site, to=to, by=by, progress=progress, blue_green=config.beside)
            else:
                result = deployments.standing(site, plan)
            models = table(serving.model_lines(deployments.model_rows(site)))
            cards = table(serving.card_lines(deployments.card_rows(site)))
            components = table(
                {name: row[name] for name in ("component", "replica", "state", "answers", "up for", "detail")}
                for row in deployments.status_rows(site)
            )
        yield dg.MaterializeResult(
            data_version=dg.DataVersion(result.digest[:16]),
            metadata={
                "revision": result.revision if result.revision is not None else "not recorded",
                "components": components,
                "models": models,
                "cards": cards,
                **plan_metadata(plan),
                **findings_metadata(result.findings),
                **watched_metadata(result.watched),
            },
        )

    return make_asset(
        site,
        "deployment",
        run,
        DeployConfig,
        kinds={names.kind(site.stack.target.kind)},
        deps=deps,
        description=(
            f"{len(site.stack.components)} components of {site.name}, running as declared. "
            "Without `apply` a run shows what would change."
        ),
        always=False,
    )


def collections(site: Site) -> dg.AssetsDefinition:
    """The vector collections, made and filled where the launchpad says so."""
    stores = {names.kind(site.stack.components[c.store].kind) for c in site.stack.collections.values()}

    def run(context: dg.AssetExecutionContext, config: CollectionsConfig) -> Events:
        with failures():
            plan = data.plan_collections(site)
            absent = [step for step in plan.steps if step.verb == "create"]
            if absent and not config.apply:
                yield dry_run(context, plan)
                return
            report = data.bring_collections(site, fill=config.apply, progress=LogProgress(context))
        yield dg.MaterializeResult(
            metadata={
                "collections": table(report.rows),
                "rows": report.total,
                "rows written": report.written,
                "rows removed": report.removed,
            }
        )

    return make_asset(
        site,
        "collections",
        run,
        CollectionsConfig,
        kinds={*sorted(stores)[:2], "table"},
        deps=["deployment"],
        description=(
            f"Vector collections of {site.name}: {', '.join(site.stack.collections)}. "
            "With `apply` they are brought up to date with their corpus."
        ),
        always=False,
    )


def dry_run(
    context: dg.AssetExecutionContext, plan: Plan, partition: str | None = None
) -> dg.AssetObservation:
    """What a run without `apply` leaves: its plan, beside the asset, which stays as it was."""
    words = "Dry run: nothing was changed. Set `apply` in the launchpad to do it."
    context.log.info("%s\n%s", plan_text(plan), words)
    return dg.AssetObservation(
        asset_key=context.asset_key,
        partition=partition,
        description=words,
        metadata=plan_metadata(plan),
    )


def _models(inventories: tuple[Inventory, ...]) -> list[dict[str, Any]]:
    return [
        {"cache": inventory.cache, "replica": inventory.replica, "model": model.name,
         "revision": model.revision[:12], "size": size_in_words(model.size), "whole": model.complete}
        for inventory in inventories
        for model in inventory.models
    ]  # fmt: skip
