"""Snapshots of one stack: the backup here; list, verify, restore and prune from the modules beside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata

from ops_pipelines.engines import snapshots as engine
from ops_pipelines.engines.attempts import attempt
from ops_pipelines.engines.backup import take_snapshot
from ops_pipelines.engines.parts.collection import Choice
from ops_pipelines.engines.ports import Fence, Progress, silent
from ops_pipelines.errors import HookFailed, UsageError
from ops_pipelines.policy.manifest import Manifest
from ops_pipelines.policy.plan import Finding
from ops_pipelines.wiring import hooks, needed_secrets, revisions
from ops_pipelines.wiring import parts as part_wiring
from ops_pipelines.wiring.conditional import require_conditional_writes
from ops_pipelines.wiring.connect import backup_of, layout, lease, now, object_store
from ops_pipelines.wiring.listing import (
    difference,
    last_attempt,
    listed,
    load,
    newest,
    restorable,
    state_in_words,
)
from ops_pipelines.wiring.pinning import pin, unpin
from ops_pipelines.wiring.pruning import plan_prune, prune
from ops_pipelines.wiring.restores import Only, plan_restore, restore
from ops_pipelines.wiring.site import Site
from ops_pipelines.wiring.verifying import Depth, verify

__all__ = [
    "Choice", "Depth", "Only", "backup", "difference", "kept_findings", "last_attempt", "listed", "load", "newest",
    "pin", "plan_prune", "plan_restore", "prune", "refuse_backfill", "refuse_nothing_chosen", "restorable",
    "restore", "state_in_words", "unpin", "verify",
]  # fmt: skip


def backup(site: Site, *, by: str, progress: Progress = silent, full: bool = False) -> Manifest:
    """Take one snapshot of every part, under the stack's lease. A backup that fails leaves word of it.

    With `full`, all content is read back from the bucket before the commit. Raises Refused for a
    store without conditional writes, LeaseHeld, PartFailed, StoreError, Unreachable; no snapshot is listed then.
    HookFailed where it was taken and a hook that lets something go failed.
    """
    store, keys, declared = object_store(site), layout(site), backup_of(site)
    if declared.conditional_writes == "required":
        require_conditional_writes(store, keys, site.state / "conditional_writes.json", now())
    keeper = hooks.keeper(site)
    with lease(site, f"backup ({by})") as fence, _recorded(site, fence, by), keeper.session():
        deployed = revisions.newest(site)
        manifest = take_snapshot(
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
            hold=keeper.hold,
            needs=needed_secrets.needs(site),
            secrets=needed_secrets.prints(site),
            parallel=declared.transfer.parallel,
            time_limit=declared.transfer.time_limit,
            full=full,
        )
    if keeper.failures:
        raise HookFailed(
            f"the snapshot {manifest.snapshot} was taken, but something may still be held still:\n  "
            + "\n  ".join(keeper.failures),
            remedy="let it go by hand, and mend the hook; the next backup tries it again",
        )
    return manifest


@contextmanager
def _recorded(site: Site, fence: Fence, by: str) -> Iterator[None]:
    """Leave word of the backup, so that nothing is pruned after one that failed. Not in a bucket that is not ours."""
    store, keys = object_store(site), layout(site)
    engine.write_format(store, keys)
    with attempt(store, keys, site.name, fence=fence, clock=now, by=by):
        yield


def kept_findings(site: Site, manifest: Manifest) -> tuple[Finding, ...]:
    """What a backup should have kept beside the parts and could not, so that a drill or a restore cannot prove them:
    answers to questions, fingerprints of secrets. Empty where all is well."""
    kept = {question.collection for question in manifest.questions}
    return needed_secrets.not_kept(manifest) + tuple(
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
