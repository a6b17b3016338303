"""The jobs that all stacks share. They are ops, not asset jobs: what loads slowly is jobs times assets."""

from datetime import datetime

import dagster as dg

from ops_pipelines.defs.configs import MigrateConfig, PruneConfig, ScaleConfig, VerifyConfig
from ops_pipelines.defs.metadata import findings_metadata, plan_metadata, plan_text
from ops_pipelines.defs.names import key
from ops_pipelines.defs.one_off_pipes import moved_by_pipes
from ops_pipelines.defs.running import FLEET, LogProgress, failures, site_of
from ops_pipelines.policy.plan import failed
from ops_pipelines.wiring import migrations, scaling, snapshots


@dg.op(required_resource_keys={FLEET}, description="Compare a snapshot with what the bucket really holds.")
def verify_snapshot(context: dg.OpExecutionContext, config: VerifyConfig) -> None:
    """Fails where a blob is missing, altered, or could not be looked at."""
    with failures():
        site = site_of(context, config.stack)
        snapshot = config.snapshot or snapshots.newest(site)
        findings = snapshots.verify(site, snapshot, depth=config.depth.value, progress=LogProgress(context))
    bad = failed(findings)
    context.log_event(
        dg.AssetObservation(
            key(site.name, "snapshot"),
            description=f"verified {snapshot}: {'bad' if bad else 'good'}",
            metadata={"snapshot": snapshot, "depth": config.depth.value, **findings_metadata(findings)},
        )
    )
    if bad:
        raise dg.Failure(
            f"{snapshot}: {len(bad)} of {len(findings)} findings are not good: {bad[0].message}",
            metadata=findings_metadata(findings),
            allow_retries=False,
        )


@dg.op(required_resource_keys={FLEET}, description="Delete snapshots that `backup.keep` lets go.")
def prune_snapshots(context: dg.OpExecutionContext, config: PruneConfig) -> None:
    """A dry run unless `apply` is set. What is verified, drilled or pinned last always stays."""
    with failures():
        site = site_of(context, config.stack)
        plan = (
            snapshots.prune(site, by=f"run {context.run_id}") if config.apply else snapshots.plan_prune(site)
        )
    context.log.info(plan_text(plan))
    context.log_event(
        dg.AssetObservation(
            key(site.name, "snapshot"),
            description="pruned" if config.apply else "dry run of pruning: nothing was changed",
            metadata=plan_metadata(plan),
        )
    )


@dg.op(required_resource_keys={FLEET}, description="Carry a scaling decision out.")
def carry_out_decision(context: dg.OpExecutionContext, config: ScaleConfig) -> None:
    """Refused where the decision is stale: too old, or made for another number of replicas."""
    with failures():
        site = site_of(context, config.stack)
        scaling.apply(
            site,
            config.scaling,
            current=config.current,
            wanted=config.wanted,
            decided=datetime.fromisoformat(config.decided),
            by=f"run {context.run_id}",
        )
    context.log_event(
        dg.AssetMaterialization(
            key(site.name, "scaling"),
            description=f"{config.scaling}: {config.current} -> {config.wanted} replicas",
            metadata={"was": config.current, "replicas": config.wanted, "decided": config.decided},
        )
    )
    context.instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=key(site.name, "scaling"),
            check_name="as_decided",
            passed=True,
            description=f"{config.scaling} has {config.wanted} replicas, as decided",
        )
    )


@dg.op(required_resource_keys={FLEET}, description="Move a stack with its data to another of its forms.")
def migrate_stack(context: dg.OpExecutionContext, config: MigrateConfig) -> None:
    """A dry run unless `apply` is set. The old form serves until the switch, and stays until `finish`."""
    by = f"run {context.run_id}"
    with failures(), moved_by_pipes(context):
        site = site_of(context, config.stack)
        if config.finish:
            plan = (migrations.finish if config.apply else migrations.finish_plan)(
                site, volumes=config.volumes
            )
        elif config.apply:
            progress = LogProgress(context)
            plan = migrations.migrate(site, config.to, by=by, again=config.again, progress=progress).plan
        else:
            plan = migrations.plan(site, config.to)
    context.log.info(plan_text(plan))
    what = "dry run of a migration: nothing was changed"
    if config.apply:
        what = (
            "the old form was removed"
            if config.finish
            else f"migrated to {config.to}: reload the code location"
        )
    context.log_event(
        dg.AssetObservation(key(site.name, "deployment"), description=what, metadata=plan_metadata(plan))
    )


@dg.job(executor_def=dg.in_process_executor, description="Move a stack with its data to another target.")
def migrate() -> None:
    """One stack."""
    migrate_stack()


@dg.job(executor_def=dg.in_process_executor, description="Prove that a snapshot is whole in the bucket.")
def verify() -> None:
    """One stack's snapshot."""
    verify_snapshot()


@dg.job(executor_def=dg.in_process_executor, description="Delete old snapshots by the stack's own rule.")
def prune() -> None:
    """One stack."""
    prune_snapshots()


@dg.job(executor_def=dg.in_process_executor, description="Carry a scaling decision out, once it is approved.")
def apply_scaling() -> None:
    """One component of one stack."""
    carry_out_decision()


JOBS = [verify, prune, migrate, apply_scaling]
