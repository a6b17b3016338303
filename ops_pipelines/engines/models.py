"""Single models of a cache: which a snapshot holds, one of them put back, one taken out as a file."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ops_pipelines.engines.parts._cache_merge import Merge, MergeResult
from ops_pipelines.engines.parts._cache_stage import Donors
from ops_pipelines.engines.ports import Fetch, Progress, TakeInventory
from ops_pipelines.errors import CacheDamaged, PartFailed
from ops_pipelines.policy import cache_pick
from ops_pipelines.policy.cache_diff import faults, place
from ops_pipelines.policy.manifest import FileEntry, Part
from ops_pipelines.policy.models import CacheModel, Inventory
from ops_pipelines.policy.plan import Finding, Step

Check = Callable[[], None]
"""Raises LeaseLost where the right to change the cache is gone."""


@dataclass(frozen=True)
class Picked:
    """One model, and the files that make it."""

    layout: str
    model: CacheModel
    entries: tuple[FileEntry, ...]


def models_of(part: Part, fetch: Fetch) -> tuple[CacheModel, ...]:
    """The models that a model cache in a snapshot holds; its manifests and refs are read for that.

    Raises SnapshotDamaged for a layout that is not known, and what `fetch` raises."""
    layout = cache_pick.layout_of(part)
    notes = cache_pick.notes_of(layout, part.files)
    texts: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="ops-models-") as folder:
        by_digest: dict[str, str] = {}
        for note in notes:
            if note.sha256 not in by_digest:
                path = Path(folder) / note.sha256
                fetch(note, path)
                by_digest[note.sha256] = path.read_text(encoding="utf-8", errors="replace")
            texts[note.path] = by_digest[note.sha256]
    return cache_pick.assembled(layout, part.files, texts).models


def pick(part: Part, word: str, fetch: Fetch, *, snapshot: str) -> Picked:
    """The model of a snapshot that a word names. Raises UsageError which lists those that are there."""
    layout = cache_pick.layout_of(part)
    model = cache_pick.choose(
        models_of(part, fetch), word, layout, where=f"{part.key} of snapshot {snapshot}"
    )
    return Picked(layout, model, cache_pick.entries_of(model, layout, part.files))


def pick_here(inventories: Sequence[Inventory], word: str) -> tuple[Picked, Inventory]:
    """The model of a live cache that a word names, from the first replica that has it whole and right.

    Raises UsageError where none has it, CacheDamaged where all that have it are corrupt or not whole."""
    here = [inventory for inventory in inventories if inventory.exists] or list(inventories)[:1]
    models = {(model.name, model.revision): model for inventory in here for model in inventory.models}
    layout, wrong = here[0].layout, ""
    chosen = cache_pick.choose(list(models.values()), word, layout, where=f"cache {here[0].cache}")
    for inventory in here:
        for model in inventory.models:
            if (model.name, model.revision) != (chosen.name, chosen.revision):
                continue
            if not (why := why_not(inventory, model)):
                entries = cache_pick.entries_of(model, layout, cache_pick.entries_here(inventory))
                return Picked(layout, model, entries), inventory
            wrong = wrong or f"{place(inventory)}: {why}"
    raise CacheDamaged(
        f"{chosen.name} is not right: {wrong}",
        remedy="put it back from a snapshot: ops-pipelines restore STACK SNAPSHOT --model "
        f"{chosen.name} --apply",
    )


def why_not(inventory: Inventory, model: CacheModel) -> str:
    """What is wrong with a model of a live cache, or nothing."""
    if not model.complete:
        return f"{', '.join(model.missing[:3])} is not there"
    files = inventory.by_path()
    bad = [files[path] for path in model.files if path in files and files[path].corrupt]
    return f"{bad[0].path} is corrupt, {faults(bad[0])}" if bad else ""


def merges(picked: Picked, take: TakeInventory, replicas: int, progress: Progress) -> tuple[Merge, ...]:
    """What putting the model into each replica of a cache would be. Raises PartFailed for another layout."""
    found: list[Merge] = []
    inventories = [take(replica, progress) for replica in range(replicas)]
    for inventory in inventories:
        if inventory.layout != picked.layout:
            raise PartFailed(
                f"{picked.model.name} is a model of layout {picked.layout}, {place(inventory)} has the layout "
                f"{inventory.layout}",
                remedy="name a cache of the same layout",
            )
        donors = Donors.of(inventory)
        for other in inventories:
            near = Donors.of(other)
            # Another replica is another server's: copied and hashed on the way, never shared.
            donors.copyable = {**near.copyable, **near.linkable, **donors.copyable}
        found.append(Merge(picked.layout, picked.model, picked.entries, inventory, donors))
    return tuple(found)


def plan(merging: Sequence[Merge]) -> tuple[Step, ...]:
    """What `merge` would do."""
    return tuple(step for one in merging for step in one.plan())


def merge(
    merging: Sequence[Merge], fetch: Fetch, take: TakeInventory, *, check: Check, progress: Progress
) -> tuple[tuple[MergeResult, ...], tuple[Finding, ...]]:
    """Put a model into each replica, one after the other, and look whether it is there, whole and right.

    Raises what `Merge.run` and `check` raise; the replicas before are done then, and the same call goes on."""
    results: list[MergeResult] = []
    findings: list[Finding] = []
    for replica, one in enumerate(merging):
        check()
        results.append(one.run(fetch, progress))
        for later in merging[replica + 1 :]:
            later.donors.add_copies(one.root, one.entries)
        findings.append(_proved(one, take(replica, progress)))
    return tuple(results), tuple(findings)


def _proved(merged: Merge, now: Inventory) -> Finding:
    name, revision = merged.model.name, merged.model.revision
    subject = f"{place(now)}: {name}"
    found = [model for model in now.models if (model.name, model.revision) == (name, revision)]
    why = why_not(now, found[0]) if found else "it is not there"
    if why:
        return Finding(subject, False, f"{name} was put there, and {why}", "run the same command again")
    return Finding(subject, True, f"{name} is there whole, revision {revision[:12]}")
