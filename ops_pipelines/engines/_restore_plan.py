"""Which parts of a snapshot are restored, where to, and how that meets a restore that was cut off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ops_pipelines.engines._journal import Entry, Journal
from ops_pipelines.engines.ports import PartTarget
from ops_pipelines.errors import UsageError
from ops_pipelines.policy.manifest import Manifest, Part
from ops_pipelines.policy.plan import Plan, Step

Targets = Mapping[str, PartTarget]


def plan_restore(
    manifest: Manifest,
    targets: Targets,
    parts: Sequence[str] | None = None,
    into: str | None = None,
    *,
    pending: Journal | None = None,
) -> Plan:
    """What `restore` with the same arguments would do. Nothing is changed.

    `parts` are part keys (`kind/name`), or bare names where only one part has it; None means all. Parts that
    nothing here can take are warnings, and so is `pending`, a restore that was cut off. Raises UsageError for
    a part that the snapshot does not hold."""
    chosen, skipped = choose(manifest, targets, parts)
    warnings = list(skipped)
    same: Journal | None = None
    if pending is not None and into is None:
        same = same_restore(pending, manifest, chosen)
        finish = "this run finishes it" if same else "this run takes its place"
        warnings.append(
            f"a restore of {pending.snapshot} at {pending.begun} was cut off: "
            f"{names(pending.switched)} switched, {names(pending.waiting)} not; {finish}"
        )
    done = {entry.part for entry in same.switched} if same else set()
    steps: list[Step] = []
    for part in chosen:
        if part.key in done:
            steps.append(Step("keep", part.key, "switched by the run that was cut off"))
        else:
            steps.extend(targets[part.key].plan(part, place_for(part, chosen, into)))
    title = f"Restore {manifest.snapshot} of {manifest.stack}" + (f" into {into}" if into else "")
    return Plan(title, tuple(steps), tuple(warnings))


def choose(
    manifest: Manifest, targets: Targets, parts: Sequence[str] | None
) -> tuple[list[Part], tuple[str, ...]]:
    """Parts to restore, in the manifest's order, and why others of the snapshot are left out."""
    wanted = manifest.keys(parts)
    unasked = {part.key for part in manifest.parts if part.kind == "secrets"} if parts is None else set()
    wanted -= unasked
    skipped = tuple(
        f"{key} is left out: name it to have it (--part {key})" for key in sorted(unasked)
    ) + tuple(
        f"{key} is left out: nothing here can take it (no {key.partition('/')[0].replace('_', ' ')} of that "
        "name is declared or reachable)"
        for key in sorted(wanted - targets.keys())
    )
    if parts is not None and skipped:
        raise UsageError("; ".join(skipped), remedy="declare it in the stack file, or choose other parts")
    chosen = [part for part in manifest.parts if part.key in wanted and part.key in targets]
    if not chosen:
        raise UsageError(
            f"nothing of snapshot {manifest.snapshot} can be restored here: {'; '.join(skipped)}",
            remedy="declare the parts in a stack file, or name parts that are",
        )
    return chosen, skipped


def place_for(part: Part, chosen: Sequence[Part], into: str | None) -> str | None:
    """Name of the place that a copy beside goes to: `into`, with the part's name where kinds repeat."""
    alone = sum(1 for other in chosen if other.kind == part.kind) == 1
    return into if into is None or alone else f"{into}_{part.name}"


def same_restore(journal: Journal, manifest: Manifest, chosen: Sequence[Part]) -> Journal | None:
    """The journal, where it is of this very restore and something is left of it to do.

    Raises UsageError where another restore is asked for that would leave parts of the killed one live."""
    keys = {part.key for part in chosen}
    if not journal.waiting:
        return None
    if journal.snapshot == manifest.snapshot and {entry.part for entry in journal.entries} == keys:
        return journal
    # The run may have been killed after it switched the next one, and before it could say so.
    touched = (*journal.switched, journal.waiting[0])
    if left := [entry for entry in touched if entry.part not in keys]:
        raise UsageError(
            f"a restore of {journal.snapshot} was cut off, and {names(left)} may be switched already",
            remedy=f"restore {names(journal.entries)} from {journal.snapshot} again, which finishes it, or "
            f"restore {names(touched)} too from the snapshot that is wanted instead",
        )
    return None


def names(entries: Sequence[Entry]) -> str:
    """Part keys for a sentence."""
    return ", ".join(entry.part for entry in entries) or "nothing"
