"""Remove snapshots that need not stay. Their blobs are left to the sweep, which sees all stacks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, tzinfo

import structlog

from ops_pipelines.engines.attempts import read_attempt
from ops_pipelines.engines.ports import Fence, ObjectStore
from ops_pipelines.engines.snapshots import SnapshotInfo, check_format, list_snapshots
from ops_pipelines.errors import ObjectLocked
from ops_pipelines.policy.layout import MARKS, Layout
from ops_pipelines.policy.plan import Plan, Step
from ops_pipelines.policy.retention import KeepRule, plan_prune

log = structlog.get_logger()


def prune_plan(store: ObjectStore, layout: Layout, stack: str, keep: KeepRule, *, zone: tzinfo = UTC) -> Plan:
    """What `prune` would remove and keep, with the reasons; nothing is changed. Days begin as in `zone`.

    Sizes are those of the snapshots as they would lie on disk; content that others share stays in the bucket.
    Raises StoreError where it cannot be read how the latest backup ended.
    """
    check_format(store, layout)
    attempt = read_attempt(store, layout, stack)
    known = {one.id: one for one in list_snapshots(store, layout, stack)}
    facts = [one.facts for one in known.values()]
    verdicts = plan_prune(facts, keep, store.now(), attempt=attempt, zone=zone)
    steps = tuple(
        Step(
            "keep" if verdict.keep else "remove",
            f"snapshot/{verdict.id}",
            verdict.reason,
            0 if verdict.keep else known[verdict.id].size or 0,
        )
        for verdict in verdicts
    )
    return Plan(f"prune {stack}", steps, tuple(_warnings(known.values())))


def prune(
    store: ObjectStore, layout: Layout, stack: str, keep: KeepRule, *, fence: Fence, zone: tzinfo = UTC
) -> Plan:
    """Carry out `prune_plan`, made anew, under the stack's lease, and return it.

    The manifest goes first: from then on the snapshot is not there, whatever happens next. Raises LeaseLost
    with the earlier removals done and the others not.
    """
    plan = prune_plan(store, layout, stack, keep, zone=zone)
    for step in plan.changes:
        snapshot = step.subject.removeprefix("snapshot/")
        fence.check()
        try:
            store.delete([layout.manifest(stack, snapshot)])
        except ObjectLocked as error:
            log.warning(
                "snapshot is locked and stays", stack_name=stack, snapshot=snapshot, problem=error.message
            )
            plan = replace(
                plan,
                steps=tuple(one for one in plan.steps if one != step),
                warnings=(*plan.warnings, f"{snapshot} stays: {error.message}"),
            )
            continue
        store.delete([layout.mark(stack, snapshot, kind) for kind in MARKS])
        log.info("snapshot removed", stack_name=stack, snapshot=snapshot, reason=step.detail)
    return plan


def _warnings(known: Iterable[SnapshotInfo]) -> list[str]:
    return [f"{one.id} is {one.state}: {one.problem}" for one in known if one.problem]
