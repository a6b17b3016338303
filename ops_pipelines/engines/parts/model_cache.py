"""A model cache as a part of a backup: its content once, whatever the number of its replicas.

Rot is never stored as good: of several replicas the one with the right content gives it, and where none has
it the backup ends. A download that is under way is left out, and said. A restore is staged beside the live
folder of each replica and put in its place in one step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ops_pipelines.engines.parts._cache_target import ModelCacheTarget
from ops_pipelines.engines.ports import Capture, Captured, Progress, TakeInventory
from ops_pipelines.errors import PartFailed
from ops_pipelines.policy.cache_diff import REPAIR, differences, divergence, faults, owned, place
from ops_pipelines.policy.cache_layouts import kept
from ops_pipelines.policy.manifest import FileEntry
from ops_pipelines.policy.models import CacheFile, Inventory, WantedModel


@dataclass(frozen=True)
class ModelCacheSource:
    """One model cache, all its replicas."""

    name: str
    replicas: int
    inventory: TakeInventory
    wanted: tuple[WantedModel, ...] = ()
    """What the stack asks of it: what of that is missing is said in the snapshot's facts."""
    remember: Callable[[Inventory], None] = lambda _: None
    """Told of an inventory whose promised digests were compared, every one of them."""
    kind: str = "model_cache"

    def capture(self, scratch: Path, progress: Progress) -> Capture:  # noqa: ARG002 - nothing is made
        """Files and links of all whole models, read from the replicas in order.

        Raises PartFailed where no replica is there, where one cannot be read, or where a file that a model
        needs is corrupt in every replica."""
        taken = [self.inventory(replica, progress) for replica in range(self.replicas)]
        here = [inventory for inventory in taken if inventory.exists]
        if not here:
            raise PartFailed(
                f"the folder {taken[0].root} of model cache {self.name} is not there",
                remedy="mount its volume, correct the cache's `path`, or set `backup: false` for it",
            )
        for inventory in here:
            _require_readable(inventory)
        files = _merged(here)
        captured = tuple(
            Captured(
                FileEntry(file.path, file.size, file.sha256, file.mode & 0o777, file.link),
                None if file.link is not None else Path(inventory.root) / file.path,
                promise=owned(file, inventory.models) if file.unread is not None else "",
            )
            for file, inventory in files
        )
        return Capture(captured, self._facts(taken, here), proved=lambda: self._proved(here, captured))

    def _proved(self, here: Sequence[Inventory], captured: Sequence[Captured]) -> None:
        """Only what was captured was compared: a replica that gave nothing is read by its next inventory."""
        taken = {str(one.source) for one in captured}
        for inventory in here:
            files = tuple(file for file in inventory.files if f"{inventory.root}/{file.path}" in taken)
            self.remember(replace(inventory, files=files))

    def _facts(self, taken: Sequence[Inventory], here: Sequence[Inventory]) -> dict[str, Any]:
        first = here[0]
        models = {
            (model.name, model.revision): model for inv in here for model in inv.models if model.complete
        }
        lines = differences(self.wanted, first)
        return {
            "layout": first.layout,
            "replicas": self.replicas,
            "models": [
                {"name": model.name, "revision": model.revision, "size": model.size, "tags": list(model.tags)}
                for _, model in sorted(models.items())
            ],
            "missing": [line.model for line in lines if line.state in ("missing", "partial")],
            "moved": [line.model for line in lines if line.state == "moved"],
            "incomplete": sorted({name for inv in here for name in kept(inv).incomplete}),
            "partial": sorted({path for inv in here for path in inv.partial}),
            "unreferenced": sorted({path for inv in here for path in kept(inv).unreferenced}),
            "left_out": sorted({problem.subject for inv in here for problem in inv.problems}),
            "read_again": sum(inv.again for inv in here),
            "corrupt": [said for inv in here for said in _corrupt(inv)],
            "divergence": [finding.message for finding in divergence(taken) if finding.ok is not True],
        }


def _require_readable(inventory: Inventory) -> None:
    bad = [
        problem for problem in inventory.problems if problem.severity == "error" and problem.ok is not True
    ]
    if bad:
        raise PartFailed(f"{place(inventory)}: {bad[0].message}", remedy=bad[0].remedy)


def _corrupt(inventory: Inventory) -> list[str]:
    """What of a replica is not right, in words; another replica gave the content."""
    return [f"{place(inventory)}: {owned(file, inventory.models)} is corrupt: {faults(file)}"
            for file in inventory.files if file.corrupt and file.path in kept(inventory).paths]  # fmt: skip


def _merged(inventories: Sequence[Inventory]) -> list[tuple[CacheFile, Inventory]]:
    """Each path once, from the first replica whose content is right."""
    chosen: dict[str, tuple[CacheFile, Inventory]] = {}
    for inventory in inventories:
        paths = kept(inventory).paths
        for file in inventory.files:
            if file.path in paths and (file.path not in chosen or chosen[file.path][0].corrupt):
                chosen[file.path] = (file, inventory)
    for file, inventory in chosen.values():
        if file.corrupt:
            raise PartFailed(
                f"{place(inventory)}: {owned(file, inventory.models)} is corrupt and is not backed up as good: "
                f"{faults(file)}",
                remedy=f"{REPAIR}; then take the backup again. The snapshots before it keep the good content",
            )
    return [chosen[path] for path in sorted(chosen)]


__all__ = ["ModelCacheSource", "ModelCacheTarget", "TakeInventory"]
