"""A snapshot put back: all of it, some parts, some rows of a collection, or one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from ops_pipelines.defs import names
from ops_pipelines.defs.configs import RestoreConfig
from ops_pipelines.defs.making import Events, make_asset
from ops_pipelines.defs.metadata import findings_metadata, plan_metadata, plan_text, table
from ops_pipelines.defs.running import LogProgress, failures
from ops_pipelines.defs.serving_assets import dry_run
from ops_pipelines.policy.plan import Finding, Plan, failed
from ops_pipelines.policy.words import size_in_words
from ops_pipelines.wiring import models, snapshots
from ops_pipelines.wiring.site import Site
from ops_pipelines.wiring.wishes import Wish


def restore(site: Site) -> dg.AssetsDefinition:
    """Puts back the snapshot that was chosen as partition; a dry run unless `apply` is set."""

    def run(context: dg.AssetExecutionContext, config: RestoreConfig) -> Events:
        chosen = context.partition_key if context.has_partition_key else ""
        with failures():
            snapshots.refuse_nothing_chosen(site, chosen)
            if config.apply:
                snapshots.refuse_backfill(context.run.tags)
            wish = wish_of(config)
            wish.refuse()
            yield from (_model if wish.model else _parts)(context, site, chosen, wish, config.apply)

    return make_asset(
        site,
        "restore",
        run,
        RestoreConfig,
        kinds={"s3"},
        deps=["snapshot"],
        description=(
            f"Puts a snapshot of {site.name} back. Open the launchpad from the menu beside Materialize and choose "
            "the snapshot: without `apply` the run shows its plan and changes nothing."
        ),
        partitions=names.snapshots(site.name),
        always=False,
    )


def wish_of(config: RestoreConfig) -> Wish:
    """What the launchpad's form asks for; a field that was left empty asks for nothing."""
    return Wish(
        parts=tuple(config.parts),
        into=config.into or None,
        only=snapshots.Only(
            snapshots.Choice(config.filter, tuple(config.partitions)), config.as_name or None
        ),
        model=config.model or None,
        into_cache=config.into_cache or None,
        into_path=Path(config.into_path) if config.into_path else None,
        allow_wrong=tuple(config.allow_wrong_secrets),
    )


def _parts(context: dg.AssetExecutionContext, site: Site, chosen: str, wish: Wish, apply: bool) -> Events:
    asked: dict[str, Any] = {
        "parts": list(wish.parts) or None,
        "into": wish.into,
        "only": wish.only,
        "allow_wrong": wish.allow_wrong,
    }
    plan = snapshots.plan_restore(site, chosen, **asked)
    if not apply:
        yield dry_run(context, plan, partition=chosen)
        return
    context.log.info(plan_text(plan))
    by, progress = f"run {context.run_id}", LogProgress(context)
    result = snapshots.restore(site, chosen, by=by, progress=progress, **asked)
    rows = [{"part": one.part, "place": one.place, "old one kept": one.kept} for one in result.parts]
    found = tuple(finding for one in result.parts for finding in one.findings)
    yield from _done(rows, plan, found, live=result.switched)


def _model(context: dg.AssetExecutionContext, site: Site, chosen: str, wish: Wish, apply: bool) -> Events:
    held = models.held(site, chosen)
    picked, target = wish.picked(held, site)
    plan = models.plan_put(picked, target)
    if not apply:
        yield dry_run(context, plan, partition=chosen)
        return
    context.log.info(plan_text(plan))
    results, found = models.put(
        picked, held.fetch, target, by=f"run {context.run_id}", progress=LogProgress(context)
    )
    rows = [
        {"model": one.model, "revision": one.revision[:12], "folder": one.root,
         "brought": f"{one.brought} files, {size_in_words(one.moved)}", "old one kept": one.kept}
        for one in results
    ]  # fmt: skip
    yield from _done(rows, plan, found, live=target.site is not None)


def _done(rows: Sequence[Mapping[str, Any]], plan: Plan, found: Sequence[Finding], *, live: bool) -> Events:
    """What was put back. Where something is wrong with it the run fails, so that somebody is told."""
    yield dg.MaterializeResult(
        metadata={"restored": table(rows), "live": live, **plan_metadata(plan), **findings_metadata(found)}
    )
    if bad := [one for one in failed(list(found)) if one.severity == "error"]:
        words = "; ".join(f"{one.subject}: {one.message}" for one in bad[:3])
        raise dg.Failure(f"what was put back is not right: {words}", allow_retries=False)
