"""Put a snapshot back: all parts staged beside the live ones and checked, and only then switched.

Until the first switch nothing live has changed, and what was staged is thrown away when anything is wrong.
The switches are one step each; by the journal (`_journal.py`) a run that was killed between two of them is
finished by the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from ops_pipelines.engines import _journal
from ops_pipelines.engines._blobs import fetcher
from ops_pipelines.engines._journal import Entry, Journal
from ops_pipelines.engines._restore_plan import Targets, choose, names, place_for, plan_restore, same_restore
from ops_pipelines.engines.ports import Clock, Fence, ObjectStore, Progress, silent
from ops_pipelines.engines.verify import verify_snapshot
from ops_pipelines.errors import LeaseLost, OpsError, PartFailed, SnapshotDamaged, Unreachable
from ops_pipelines.policy.layout import Layout
from ops_pipelines.policy.manifest import Manifest, Part
from ops_pipelines.policy.plan import Finding, failed

log = structlog.get_logger()

__all__ = ["Journal", "RestoreResult", "Restored", "pending_restore", "plan_restore", "restore"]


@dataclass(frozen=True)
class Restored:
    """One part that was put back."""

    part: str
    place: str
    kept: str
    """Where the old content is kept; empty where nothing was switched."""
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class RestoreResult:
    """What a restore did."""

    snapshot: str
    parts: tuple[Restored, ...]
    skipped: tuple[str, ...]
    """Parts of the snapshot that nothing here can take, with the reason."""
    switched: bool
    """False for a copy beside the live stack."""
    resumed: bool
    """True where it finished a run that was killed between two switches."""


def nobody(place: str) -> bool:  # noqa: ARG001 - asked of every place
    """The `spare` of a caller beside whom nobody else restores."""
    return False


def pending_restore(state: Path, stack: str) -> Journal | None:
    """The restore of a stack that was killed between two switches, where there is one."""
    return _journal.read(state, stack)


def restore(
    manifest: Manifest,
    targets: Targets,
    *,
    store: ObjectStore,
    layout: Layout,
    fence: Fence,
    parts: Sequence[str] | None = None,
    into: str | None = None,
    state: Path,
    progress: Progress = silent,
    clock: Clock,
    resume: bool = True,
    spare: Callable[[str], bool] = nobody,
) -> RestoreResult:
    """Restore `parts` (None: all that something here can take) and switch them; with `into`, a copy beside.

    `state` is this stack's own folder, which outlives the run: the journal lies there. A run that was
    killed between two switches is finished by the same call (`resume` False forgets it, and does all anew). With
    several parts of one kind, `into` names each place `<into>_<part's name>`. What killed runs staged is
    removed, but for places that `spare` says are somebody's: those of a drill at work. Raises UsageError,
    SnapshotDamaged or Unreachable before anything is staged, PartFailed where a part cannot be staged or does
    not check out (nothing live has changed then), LeaseLost."""
    chosen, skipped = choose(manifest, targets, parts)
    fence.check()
    pending = _journal.read(state, manifest.stack)
    same = same_restore(pending, manifest, chosen) if pending and resume and into is None else None
    before = same.switched if same else ()
    todo = [part for part in chosen if part.key not in {entry.part for entry in before}]
    _require_blobs(replace(manifest, parts=tuple(todo)), store, layout)
    bound = log.bind(stack_name=manifest.stack, snapshot=manifest.snapshot)
    work = _Work(targets, fence, progress, bound, spare)
    staged = _still_good(same, work, todo) if same else {}
    keep = {one.place for one in staged.values()}
    if into is not None and pending:
        keep = {entry.place for entry in pending.waiting}
    fetch = fetcher(store, layout, manifest.snapshot, each_on_disk=False)
    try:
        for part in todo:
            if part.key in staged:
                continue
            fence.check()
            place = targets[part.key].stage(part, place_for(part, chosen, into), fetch, progress)
            staged[part.key] = Restored(part.key, place, "", ())
            staged[part.key] = replace(staged[part.key], findings=work.check(part, place))
            work.log.info("part staged", part=part.key, place=place, bytes=part.size)
        # Not before staging: a target may go on with what a killed run left.
        work.discard_leftovers(keep | {one.place for one in staged.values()}, {part.key for part in todo})
        fence.check()
    except LeaseLost:
        raise  # whoever holds the lease now may be at work in the same places
    except Unreachable:
        work.log.warning("restore cut off", hint="what was staged is kept: the same restore again goes on")
        raise
    except BaseException:
        work.undo(todo, staged, keep)
        raise
    if into is not None:
        made = tuple(staged.values())
        return RestoreResult(manifest.snapshot, made, skipped, switched=False, resumed=False)
    entries = (*before, *(Entry(part.key, staged[part.key].place) for part in todo))
    current = Journal(manifest.stack, manifest.snapshot, clock().isoformat(), entries)
    results = [Restored(entry.part, entry.place, entry.kept, ()) for entry in before]
    results += work.switch_all(todo, staged, current, state)
    return RestoreResult(manifest.snapshot, tuple(results), skipped, switched=True, resumed=same is not None)


@dataclass(frozen=True)
class _Work:
    """What all steps of one restore share."""

    targets: Targets
    fence: Fence
    progress: Progress
    log: structlog.stdlib.BoundLogger
    spare: Callable[[str], bool]

    def check(self, part: Part, place: str) -> tuple[Finding, ...]:
        """Findings on a staged place, all of them good. Raises PartFailed otherwise."""
        findings = self.targets[part.key].check(part, place, full=True)
        if bad := [finding for finding in failed(findings) if finding.severity == "error"]:
            words = "; ".join(f"{finding.subject}: {finding.message}" for finding in bad[:5])
            more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
            raise PartFailed(
                f"{part.key} was staged at {place} and is not what the snapshot holds: {words}{more}",
                remedy=bad[0].remedy or "nothing live was changed; try again, or restore another snapshot",
            )
        return findings

    def discard_leftovers(self, keep: set[str], restored: set[str]) -> None:
        """Remove what earlier, killed runs staged, of any part; a server of one that is not `restored` may be down."""
        for key, target in self.targets.items():
            try:
                places = target.leftovers()
            except Unreachable as error:
                if key in restored:
                    raise
                self.log.info("leftovers not looked for", part=key, error=error.message)
                continue
            for place in places:
                if place not in keep and not self.spare(place):
                    self.fence.check()
                    target.discard(place)
                    self.log.info("leftover discarded", part=key, place=place)

    def undo(self, parts: Sequence[Part], staged: Mapping[str, Restored], keep: set[str]) -> None:
        """Throw away what was staged. An error here is logged: the one that led here is the one to tell."""
        for part in parts:
            target = self.targets[part.key]
            try:
                places = [staged[part.key].place] if part.key in staged else []
                others = (place for place in target.leftovers() if place not in (*places, *keep))
                places += [place for place in others if not self.spare(place)]
                for place in places:
                    target.discard(place)
            except (OpsError, OSError) as error:
                self.log.warning("staged place not discarded", part=part.key, error=str(error))

    def switch_all(
        self, parts: Sequence[Part], staged: Mapping[str, Restored], journal: Journal, state: Path
    ) -> list[Restored]:
        """Make the staged places live, one after the other, each recorded as it is done."""
        results: list[Restored] = []
        _journal.write(state, journal)
        for part in parts:
            one = staged[part.key]
            try:
                self.fence.check()
                kept = self.targets[part.key].switch(part, one.place)
            except OpsError as error:
                raise _cut_off(journal, part, error) from error
            self.log.info("part switched", part=part.key, place=one.place, kept=kept)
            done = Entry(part.key, one.place, switched=True, kept=kept)
            entries = tuple(done if entry.part == part.key else entry for entry in journal.entries)
            journal = replace(journal, entries=entries)
            _journal.write(state, journal)
            results.append(replace(one, kept=kept))
        _journal.remove(state, journal.stack)
        return results


def _still_good(journal: Journal, work: _Work, todo: Sequence[Part]) -> dict[str, Restored]:
    """What the killed run had staged, as far as it is still there and still right."""
    ready: dict[str, Restored] = {}
    places = {entry.part: entry.place for entry in journal.waiting}
    for part in todo:
        place = places[part.key]
        if place not in work.targets[part.key].leftovers():
            continue
        try:
            ready[part.key] = Restored(part.key, place, "", work.check(part, place))
        except PartFailed as error:
            work.log.warning("staged place no longer good", part=part.key, error=error.message)
    return ready


def _require_blobs(manifest: Manifest, store: ObjectStore, layout: Layout) -> None:
    """Raise unless all content of the manifest's parts is in the bucket, with its size."""
    findings = failed(verify_snapshot(manifest, store=store, layout=layout, depth="sizes"))
    if bad := [finding for finding in findings if finding.ok is False]:
        words = "\n".join(f"  {finding.subject}: {finding.message}" for finding in bad[:10])
        raise SnapshotDamaged(
            f"snapshot {manifest.snapshot} is damaged, {len(bad)} files; nothing was changed:\n{words}",
            remedy="restore another snapshot (`ops-pipelines snapshots STACK`), or the parts that are whole",
        )
    if findings:
        raise Unreachable(f"snapshot {manifest.snapshot} {findings[0].message}", remedy=findings[0].remedy)


def _cut_off(journal: Journal, part: Part, error: OpsError) -> OpsError:
    kind: Callable[..., OpsError] = LeaseLost if isinstance(error, LeaseLost) else PartFailed
    state = f"switched before: {names(journal.switched)}; still the old: {names(journal.waiting)}"
    kept = "".join(f"\n  the old {e.part} is kept: {e.kept}" for e in journal.switched)
    return kind(
        f"{part.key} could not be switched: {error.message}\n  {state}{kept}",
        remedy=f"{error.remedy}; then run the same restore again, which finishes it",
    )
