"""Snapshots of one stack: the backup here; list, verify, restore and prune from the modules beside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata

import structlog

from ops_pipelines.engines import snapshots as engine
from ops_pipelines.engines.backup import random_suffix, take_snapshot
from ops_pipelines.engines.ports import Progress, silent
from ops_pipelines.errors import OpsError, UsageError
from ops_pipelines.policy.layout import snapshot_id
from ops_pipelines.policy.manifest import Manifest
from ops_pipelines.policy.plan import Finding
from ops_pipelines.wiring import parts as part_wiring
from ops_pipelines.wiring import revisions
from ops_pipelines.wiring.connect import layout, lease, now, object_store
from ops_pipelines.wiring.listing import listed, load, newest, restorable, state_in_words
from ops_pipelines.wiring.pruning import plan_prune, prune
from ops_pipelines.wiring.restores import plan_restore, restore
from ops_pipelines.wiring.site import Site
from ops_pipelines.wiring.verifying import Depth, verify

__all__ = [
    "Depth", "backup", "kept_findings", "listed", "load", "newest", "plan_prune", "plan_restore", "prune",
    "refuse_backfill", "refuse_nothing_chosen", "restorable", "restore", "state_in_words", "verify",
]  # fmt: skip

log = structlog.get_logger()


def backup(site: Site, *, by: str, progress: Progress = silent) -> Manifest:
    """Take one snapshot of every part, under the stack's lease. A backup that fails is marked as failed.

    Raises LeaseHeld, PartFailed, StoreError, Unreachable; no snapshot is listed then.
    """
    store, keys = object_store(site), layout(site)
    with lease(site, f"backup ({by})") as fence, _marked_when_failed(site):
        engine.write_format(store, keys)
        deployed = revisions.newest(site)
        return take_snapshot(
            site.name,
            part_wiring.sources(site),
            store=store,
            layout=keys,
            fence=fence,
            clock=now,
            scratch=site.scratch,
            revision=deployed.number if deployed else None,
            declaration=site.loaded.digest,
            writer=f"ops-pipelines {metadata.version('ops-pipelines')}",
            questions=part_wiring.questions(site),
            progress=progress,
        )


@contextmanager
def _marked_when_failed(site: Site) -> Iterator[None]:
    """A failed attempt leaves a mark, so that nothing is pruned before a backup has worked again."""
    attempt = snapshot_id(now(), random_suffix())
    try:
        yield
    except Exception as error:
        words = error.message if isinstance(error, OpsError) else type(error).__name__
        try:
            facts = {"at": now().isoformat(), "error": words.partition("\n")[0][:300]}
            engine.mark(object_store(site), layout(site), site.name, attempt, "failed", facts)
        except Exception as second:  # noqa: BLE001 - the error that led here is the one to tell
            log.warning("backup.not_marked", stack_name=site.name, error=type(second).__name__)
        raise


def kept_findings(site: Site, manifest: Manifest) -> tuple[Finding, ...]:
    """Collections of which no question was kept, so that a drill cannot prove them; empty where all is well."""
    kept = {question.collection for question in manifest.questions}
    return tuple(
        Finding(
            f"questions/{part.name}",
            None,
            "none were kept, so no drill of this snapshot can tell whether it answers as before",
            "see in the log why the model's server did not answer, and take another backup when it does",
            "warning",
        )
        for part in manifest.parts
        if part.kind == "collection" and part.name not in kept and part.facts.get("rows") != 0
        and part.name in part_wiring.asked_collections(site)
    )  # fmt: skip


def refuse_nothing_chosen(site: Site, snapshot: str) -> None:
    """Raise UsageError for a restore that was launched without a snapshot."""
    if not snapshot:
        raise UsageError(
            f"no snapshot of {site.name} was chosen",
            remedy="choose one in the launchpad's drop-down (Partition)",
        )


def refuse_backfill(tags: Mapping[str, str]) -> None:
    """Raise UsageError for a run of a backfill: several snapshots cannot all be put back."""
    if "dagster/backfill" in tags:
        raise UsageError(
            "a backfill cannot restore: each snapshot would overwrite the one before",
            remedy="choose one snapshot and launch the restore from its launchpad",
        )
