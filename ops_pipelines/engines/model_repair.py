"""Models of a cache that are not right, and where each can be had whole: another replica, else a snapshot."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ops_pipelines.engines.models import Check, Picked, merge, merges, pick, pick_here, why_not
from ops_pipelines.engines.parts._cache_merge import Merge
from ops_pipelines.engines.ports import Fetch, Progress, TakeInventory, silent
from ops_pipelines.errors import CacheDamaged, ChecksumMismatch, OpsError, UsageError
from ops_pipelines.policy.cache_diff import place
from ops_pipelines.policy.manifest import FileEntry, Part
from ops_pipelines.policy.models import CacheModel, Inventory
from ops_pipelines.policy.plan import Finding, Step


@dataclass(frozen=True)
class Kept:
    """A cache in one snapshot."""

    snapshot: str
    part: Part
    fetch: Fetch


@dataclass(frozen=True)
class Repair:
    """One model of one replica, and what would put it right."""

    replica: int
    model: CacheModel
    why: str
    """What is wrong with it."""
    origin: str
    """Where it is whole; empty where it is nowhere."""
    merge: Merge | None = None
    fetch: Fetch | None = None

    def steps(self) -> tuple[Step, ...]:
        """The plan."""
        subject = f"model/{self.model.name}" + (f" replica {self.replica}" if self.replica else "")
        if self.merge is None:
            return (Step("keep", subject, f"{self.why}; neither a replica nor a snapshot has it right"),)
        return (Step("check", subject, f"{self.why}; {self.origin} has it right"), *self.merge.plan())


def find(
    take: TakeInventory, replicas: int, snapshots: Iterable[Kept], progress: Progress
) -> tuple[Repair, ...]:
    """Every model that is corrupt or not whole, with where it can be had. `snapshots`, the best first, are looked
    at only as far as they are needed."""
    inventories = [take(replica, progress) for replica in range(replicas)]
    kept = _Lazy(snapshots)
    return tuple(
        _repair(inventory, model, why, inventories, kept, take)
        for inventory in inventories
        for model in inventory.models
        if (why := why_not(inventory, model))
    )


def repair(
    found: Sequence[Repair], take: TakeInventory, *, check: Check, progress: Progress
) -> tuple[Finding, ...]:
    """Put right what can be. What nobody has is a finding, and keeps none of the others from being mended."""
    findings: list[Finding] = []
    for one in found:
        if one.merge is None or one.fetch is None:
            findings.append(
                Finding(
                    f"model {one.model.name}", False, f"{one.why}; neither a replica nor a snapshot has it right",
                    "pull it again with repair",
                )
            )  # fmt: skip
            continue

        def taken(_: int, report: Progress, replica: int = one.replica) -> Inventory:
            return take(replica, report)

        _, proved = merge([one.merge], one.fetch, taken, check=check, progress=progress)
        findings += proved
    return tuple(findings)


class _Lazy:
    """Snapshots that are read when they are first asked for, and then kept."""

    def __init__(self, snapshots: Iterable[Kept]) -> None:
        self._rest = iter(snapshots)
        self._read: list[Kept] = []

    def __iter__(self) -> Iterator[Kept]:
        yield from self._read
        for one in self._rest:
            self._read.append(one)
            yield one


def _repair(
    inventory: Inventory,
    model: CacheModel,
    why: str,
    inventories: Sequence[Inventory],
    snapshots: _Lazy,
    take: TakeInventory,
) -> Repair:
    # What rotted in a plain folder has another digest, and so another revision: its name must do.
    word = model.name if inventory.layout == "directory" else f"{model.name}@{model.revision}"
    others = [one for one in inventories if one is not inventory and one.exists]
    picked: Picked | None = None
    try:
        picked, where = pick_here(others, word) if others else (None, inventory)
        fetch, origin = _copier(Path(where.root)), place(where)
    except (UsageError, CacheDamaged):
        picked = None
    if picked is None:
        for one in snapshots:
            try:
                picked = pick(one.part, word, one.fetch, snapshot=one.snapshot)
            except OpsError:
                continue
            fetch, origin = one.fetch, f"snapshot {one.snapshot}"
            break
    if picked is None:
        return Repair(inventory.replica, model, why, "")
    merging = merges(picked, take, len(inventories), silent)[inventory.replica]
    return Repair(inventory.replica, model, why, origin, merging, fetch)


def _copier(root: Path) -> Fetch:
    """A Fetch from another replica."""

    def fetch(entry: FileEntry, destination: Path) -> None:
        draft = destination.with_name(
            f".fetching-{hashlib.sha256(destination.name.encode()).hexdigest()[:16]}"
        )
        with (root / entry.path).open("rb") as reader, draft.open("wb") as writer:
            shutil.copyfileobj(reader, writer, 1 << 20)
            writer.flush()
            os.fsync(writer.fileno())
        with draft.open("rb") as content:
            if hashlib.file_digest(content, "sha256").hexdigest() != entry.sha256:
                draft.unlink()
                raise ChecksumMismatch(
                    f"{root / entry.path} changed while it was read", remedy="run the same command again"
                )
        draft.chmod(entry.mode & 0o777)
        draft.replace(destination)

    return fetch
