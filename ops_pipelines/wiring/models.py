"""Single models of one stack's caches: listed, put back from a snapshot, taken out and in as files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from ops_pipelines.adapters import modelfile
from ops_pipelines.adapters.cachefiles import scan
from ops_pipelines.engines import model_repair
from ops_pipelines.engines import models as engine
from ops_pipelines.engines._blobs import fetcher
from ops_pipelines.engines.model_repair import Kept, Repair
from ops_pipelines.engines.models import Picked
from ops_pipelines.engines.parts._cache_merge import MergeResult
from ops_pipelines.engines.parts.encrypted import Opener, opening
from ops_pipelines.engines.ports import Fence, Fetch, ObjectStore, Progress, TakeInventory, silent
from ops_pipelines.errors import UsageError
from ops_pipelines.policy.layout import Layout
from ops_pipelines.policy.manifest import FileEntry, Manifest, Part
from ops_pipelines.policy.model_file import ModelFile, described
from ops_pipelines.policy.models import CacheModel, Inventory
from ops_pipelines.policy.plan import Finding, Plan
from ops_pipelines.wiring.connect import layout, lease, object_store
from ops_pipelines.wiring.data import inventory_of
from ops_pipelines.wiring.encryption import opener
from ops_pipelines.wiring.listing import listed, load
from ops_pipelines.wiring.site import Site

_KIND = "model_cache"


@dataclass(frozen=True)
class Held:
    """A snapshot's manifest, with what brings its content."""

    manifest: Manifest
    fetch: Fetch

    @classmethod
    def of(cls, manifest: Manifest, store: ObjectStore, keys: Layout, opener: Opener) -> Held:
        """A snapshot in a bucket; `opener` opens what of it is encrypted."""
        fetch = fetcher(store, keys, manifest.snapshot)
        for part in manifest.parts:
            if part.recipients:
                fetch = opening(part, fetch, opener)
        return cls(replace(manifest, parts=tuple(part.opened for part in manifest.parts)), fetch)

    def caches(self, words: Sequence[str] | None = None) -> list[Part]:
        """Its model caches, or those that words name. Raises UsageError where there is none."""
        keys = self.manifest.keys(words)
        found = [part for part in self.manifest.parts if part.key in keys and part.kind == _KIND]
        if not found:
            raise UsageError(
                f"{', '.join(words or ())} of snapshot {self.manifest.snapshot} is no model cache",
                remedy=f"it holds: {', '.join(part.key for part in self.manifest.parts)}",
            )
        return found

    def pick(self, word: str, words: Sequence[str] | None = None) -> tuple[Part, Picked]:
        """The model of that name, in the one cache that has it. Raises UsageError."""
        parts = self.caches(words)
        found: list[tuple[Part, Picked]] = []
        missing: UsageError | None = None
        for part in parts:
            try:
                picked = engine.pick(part, word, self.fetch, snapshot=self.manifest.snapshot)
                found.append((part, picked))
            except UsageError as error:
                missing = error if missing is None or len(parts) == 1 else missing
        if len(found) > 1:
            raise UsageError(
                f"{word} is in {', '.join(part.key for part, _ in found)}", remedy="name one: --part KEY"
            )
        if not found:
            raise missing or UsageError(f"no cache holds {word}", remedy="")
        return found[0]


def held(site: Site, snapshot: str) -> Held:
    """A snapshot of the stack."""
    return Held.of(load(site, snapshot), object_store(site), layout(site), opener(site))


# --- list ---


def rows_of(models: Sequence[CacheModel], cache: str, replica: int | None = None) -> list[dict[str, Any]]:
    """Models as lines for people and programs."""
    where = {"cache": cache} | ({} if replica is None else {"replica": replica})
    return [
        {
            **where,
            "model": model.name,
            "revision": model.revision,
            "tags": list(model.tags),
            "size": model.size,
            "whole": model.complete,
        }
        for model in sorted(models, key=lambda model: (model.name, model.revision))
    ]


def list_here(site: Site, progress: Progress = silent) -> list[dict[str, Any]]:
    """The models in every replica of every cache of the stack."""
    rows: list[dict[str, Any]] = []
    for name, cache in site.stack.caches.items():
        for replica in range(cache.replicas):
            inventory = inventory_of(site, name)(replica, progress)
            rows += rows_of(inventory.models, name, replica)
    return rows


def list_held(held: Held) -> list[dict[str, Any]]:
    """The models in every cache of a snapshot."""
    caches = [part for part in held.manifest.parts if part.kind == _KIND]
    return [row for part in caches for row in rows_of(engine.models_of(part, held.fetch), part.name)]


# --- put one back ---


@dataclass(frozen=True)
class Target:
    """A cache that a model is put into: one of the stack's, or a folder."""

    take: TakeInventory
    replicas: int
    name: str
    site: Site | None = None

    def held(self, what: str) -> AbstractContextManager[Fence | None]:
        """The stack's lease, where the cache is the stack's."""
        return nullcontext() if self.site is None else lease(self.site, what)


def cache_target(site: Site, cache: str) -> Target:
    """A cache of the stack. Raises UsageError where it has none of that name."""
    declared = site.stack.caches.get(cache)
    if declared is None:
        raise UsageError(
            f"{site.name} declares no model cache {cache!r}",
            remedy=f"name one of: {', '.join(site.stack.caches) or 'none is declared'}; or a folder: --into-path",
        )
    return Target(inventory_of(site, cache), declared.replicas, f"cache {cache} of {site.name}", site)


def folder_target(folder: Path, layout: str) -> Target:
    """A folder that holds a store of that layout, or nothing yet."""

    def take(replica: int, progress: Progress) -> Inventory:
        return scan(folder, layout, cache=str(folder), replica=replica, progress=progress)

    return Target(take, 1, str(folder))


def plan_put(picked: Picked, target: Target) -> Plan:
    """What `put` would do. Raises PartFailed where the layouts differ."""
    merging = engine.merges(picked, target.take, target.replicas, silent)
    return Plan(f"Put {picked.model.name} into {target.name}", engine.plan(merging))


def put(
    picked: Picked, fetch: Fetch, target: Target, *, by: str, progress: Progress = silent
) -> tuple[tuple[MergeResult, ...], tuple[Finding, ...]]:
    """Put a model into each replica of a cache, under the stack's lease. Nothing is taken away; servers go on.

    Raises PartFailed, LeaseHeld, LeaseLost, ChecksumMismatch, ObjectMissing, Unreachable."""
    with target.held(f"restore of {picked.model.name} ({by})") as fence:
        merging = engine.merges(picked, target.take, target.replicas, progress)
        check = fence.check if fence is not None else _free
        return engine.merge(merging, fetch, target.take, check=check, progress=progress)


def _free() -> None:
    """Nobody else has a right to this folder."""


# --- put right what rotted ---


def find_repairs(site: Site, progress: Progress = silent) -> dict[str, tuple[Repair, ...]]:
    """By cache: every model that is corrupt or not whole, and which replica or snapshot has it right."""
    return {
        name: model_repair.find(inventory_of(site, name), cache.replicas, _kept(site, name), progress)
        for name, cache in site.stack.caches.items()
    }


def plan_repair(site: Site, progress: Progress = silent) -> Plan:
    """What `repair` would do."""
    found = [one for each in find_repairs(site, progress).values() for one in each]
    lost = tuple(f"{one.model.name}: {one.why}; nothing has it right" for one in found if one.merge is None)
    return Plan(f"Repair the models of {site.name}", tuple(s for one in found for s in one.steps()), lost)


def repair(site: Site, *, by: str, progress: Progress = silent) -> tuple[Finding, ...]:
    """Put every model right that another replica or a snapshot has right, under the stack's lease.

    Raises LeaseHeld, LeaseLost, and what bringing a file raises."""
    findings: list[Finding] = []
    with lease(site, f"repair of models ({by})") as fence:
        for name, found in find_repairs(site, progress).items():
            take = inventory_of(site, name)
            findings += model_repair.repair(found, take, check=fence.check, progress=progress)
    return tuple(findings)


def _kept(site: Site, cache: str) -> Iterator[Kept]:
    """The cache in the stack's snapshots, the newest first; those whose last check failed after all others."""
    for one in sorted(listed(site), key=lambda info: info.facts.bad):
        if one.complete:
            kept = held(site, one.id)
            part = kept.manifest.part(f"{_KIND}/{cache}")
            if part is not None:
                yield Kept(one.id, part, kept.fetch)


# --- files ---


def export_here(site: Site, word: str, file: Path, *, cache: str | None, progress: Progress) -> ModelFile:
    """Write a model of a live cache into a file. Raises UsageError, CacheDamaged, ChecksumMismatch, PartFailed."""
    picked, inventory = _pick_here(site, word, cache, progress)

    def opened(entry: FileEntry) -> BinaryIO:
        return (Path(inventory.root) / entry.path).open("rb")

    made = described(picked.layout, picked.model, picked.entries)
    modelfile.write(file, made, opened, progress)
    return made


def export_held(held: Held, word: str, file: Path, *, cache: str | None, progress: Progress) -> ModelFile:
    """Write a model of a snapshot into a file; content passes through a folder beside it, one at a time."""
    _, picked = held.pick(word, None if cache is None else [f"{_KIND}/{cache}"])
    made = described(picked.layout, picked.model, picked.entries)

    def opened(entry: FileEntry) -> BinaryIO:
        passing = file.with_name(f".{file.name}.content")
        held.fetch(entry, passing)
        content = passing.open("rb")
        passing.unlink()
        return content

    modelfile.write(file, made, opened, progress)
    return made


def _pick_here(site: Site, word: str, cache: str | None, progress: Progress) -> tuple[Picked, Inventory]:
    names = [cache] if cache is not None else list(site.stack.caches)
    found: list[tuple[Picked, Inventory]] = []
    missing: UsageError | None = None
    for name in names:
        target = cache_target(site, name)
        taken = [target.take(replica, progress) for replica in range(target.replicas)]
        try:
            found.append(engine.pick_here(taken, word))
        except UsageError as error:
            missing = missing or error
    if len(found) > 1:
        names = [inventory.cache for _, inventory in found]
        raise UsageError(f"{word} is in the caches {', '.join(names)}", remedy="name one: --cache NAME")
    if not found:
        raise missing or UsageError(
            f"{site.name} declares no model cache", remedy="declare one under `caches:`"
        )
    return found[0]


def open_file(file: Path) -> tuple[Picked, Fetch]:
    """A model's file, checked as far as it can be without reading its weights. Raises SnapshotDamaged."""
    archive = modelfile.ModelArchive(file)
    return Picked(archive.described.layout, archive.model, archive.described.files), archive.fetch


def cache_for(site: Site, picked: Picked, cache: str | None) -> str:
    """The cache of the stack that a model goes into: the one named, else the only one of its layout."""
    if cache is not None:
        cache_target(site, cache)
        return cache
    fitting = [name for name, one in site.stack.caches.items() if one.layout == picked.layout]
    if len(fitting) != 1:
        have = ", ".join(fitting) or "none"
        raise UsageError(
            f"{len(fitting)} caches of {site.name} have the layout {picked.layout} ({have})",
            remedy="name one: --cache NAME, or a folder: --into-path DIR",
        )
    return fitting[0]
