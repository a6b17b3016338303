"""One model put into a cache that is in use: nothing that is there is taken away, and it is there whole or not yet.

Content comes first, what makes a model of it last and in one step: a manifest (ollama), a snapshot's folder and then
its refs (hub), the model's folder (directory). A run that was killed leaves content that the next one uses. What
had the model's name before keeps its content under another: a tag or a folder `...before-<revision>`, or its commit.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ops_pipelines.engines.parts._cache_stage import Donors, Stager, disk_errors, in_order, owner_of
from ops_pipelines.engines.parts._cache_swap import Swap, mark, remove_drafts
from ops_pipelines.engines.parts._folders import sync_all
from ops_pipelines.engines.ports import Fetch, Progress
from ops_pipelines.errors import PartFailed
from ops_pipelines.policy.cache_layouts import RULES
from ops_pipelines.policy.cache_parts import chain, short
from ops_pipelines.policy.cache_pick import folder_of
from ops_pipelines.policy.manifest import FileEntry, safe_path
from ops_pipelines.policy.models import CacheFile, CacheModel, Inventory
from ops_pipelines.policy.plan import Step

_TRIES = 3
"""A server that starts meanwhile deletes content that no manifest names yet: it is then brought again."""


@dataclass(frozen=True)
class MergeResult:
    """What putting one model into one cache came to."""

    model: str
    revision: str
    root: str
    brought: int
    """Files that were not there, or not right."""
    moved: int
    """Their bytes."""
    kept: str = ""
    """What had the model's name before, and where it is now; empty where nothing had."""


@dataclass(frozen=True)
class Merge:
    """One model on its way into one replica of a cache."""

    layout: str
    model: CacheModel
    entries: tuple[FileEntry, ...]
    inventory: Inventory
    """What the cache holds now."""
    donors: Donors

    @property
    def root(self) -> Path:
        """Folder of the cache."""
        return Path(self.inventory.root)

    def plan(self) -> tuple[Step, ...]:
        """What would be brought, and whether another revision gives its name up."""
        absent = self._absent()
        contents = {entry.sha256: entry.size for entry in absent if entry.link is None}
        near = {digest: size for digest, size in contents.items() if self.donors.has(digest)}
        subject = f"model/{self.model.name}"
        steps: list[Step] = []
        if here := len(self.entries) - len(absent):
            steps.append(Step("keep", subject, f"{here} of its {len(self.entries)} files are in {self.root}"))
        if near:
            steps.append(
                Step("keep", subject, f"{len(near)} files are on this machine, {sum(near.values())} bytes")
            )
        if absent:
            size = sum(size for digest, size in contents.items() if digest not in near)
            steps.append(Step("fetch", subject, f"{len(contents) - len(near)} files to {self.root}", size))
        if (before := self._before()) is not None:
            detail = f"revision {short(before.revision)} gives its name to {short(self.model.revision)} and stays as "
            steps.append(Step("switch", subject, detail + self._kept_name(before)))
        elif absent:
            steps.append(Step("switch", subject, f"revision {short(self.model.revision)} is there"))
        return tuple(steps)

    def run(self, fetch: Fetch, progress: Progress) -> MergeResult:
        """Bring what is not there. May be called again after a crash. Raises PartFailed, or what `fetch` raises;
        the cache then holds what it held, and perhaps content that no model uses yet."""
        absent, before = self._absent(), self._before()
        with disk_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            stager = Stager(self.root, self.donors, fetch, progress, owner_of(self.root))
            kept = self._kept_name(before) if before and absent else ""
            if self.layout == "directory" and folder_of(self.model):
                Swap(self.root, folder_of(self.model), self.model.revision, kept).run(
                    stager, self.entries if absent else ()
                )
            elif self.layout == "directory":
                self._fill_empty(stager, absent)
            elif absent:
                self._add(stager, absent, before)
        sizes = [entry.size for entry in absent if entry.link is None]
        said = f"{short(before.revision)} is kept as {kept}" if before and kept else ""
        return MergeResult(self.model.name, self.model.revision, str(self.root), len(sizes), sum(sizes), said)

    def _absent(self) -> list[FileEntry]:
        """Entries that are not in the cache as they should be. A corrupt file is put right."""
        known = self.inventory.by_path()
        return [
            entry
            for entry in self.entries
            if (file := known.get(entry.path)) is None
            or file.link != entry.link
            or (entry.link is None and self._differs(entry, file))
        ]

    def _differs(self, entry: FileEntry, file: CacheFile) -> bool:
        if entry.path.endswith(".refs") and RULES[self.layout].is_blob(entry.path):
            text = (self.root / entry.path).read_text(encoding="utf-8", errors="replace")
            return any(line not in text.splitlines() for line in self._users(entry.path))
        return file.sha256 != entry.sha256 or file.corrupt

    def _users(self, refs: str) -> list[str]:
        """The lines that a shared file's list of users must have for this model."""
        shared = refs.removesuffix(".refs")
        links = {entry.path: entry.link for entry in self.entries}
        return [
            path for path in self.model.files if "/blobs/" in path and chain(path, links)[1:2] == (shared,)
        ]

    def _before(self) -> CacheModel | None:
        """The model that has the name now, where it is another revision that would lose it."""
        corrupt = {file.path for file in self.inventory.files if file.corrupt}
        for model in self.inventory.models:
            if model.name != self.model.name or model.revision == self.model.revision:
                continue
            usable = model.complete and corrupt.isdisjoint(model.files)
            match self.layout:
                case "huggingface" if {*model.tags} & {*self.model.tags}:
                    return model
                case "ollama" if usable:
                    return model
                case "directory":
                    return model
        return None

    def _kept_name(self, before: CacheModel) -> str:
        if self.layout == "huggingface":
            return f"{before.name}@{before.revision}"
        return f"{before.name}{'-' if self.layout == 'ollama' else '.'}before-{short(before.revision)}"

    # --- content, then what names it (ollama, hub) ---

    def _add(self, stager: Stager, absent: Sequence[FileEntry], before: CacheModel | None) -> None:
        is_blob = RULES[self.layout].is_blob
        ordered = in_order(self.layout, absent)
        content = [entry for entry in self.entries if is_blob(entry.path)]
        naming = [entry for entry in ordered if not is_blob(entry.path)]
        stager.require_space(absent)
        self._bring_all(stager, [entry for entry in ordered if is_blob(entry.path)])
        sync_all(self.root)
        if before is not None and self.layout == "ollama":
            self._keep_manifest(before)
        naming = self._snapshot_at_once(stager, naming)
        for _ in range(_TRIES):
            self._bring_all(stager, naming)
            sync_all(self.root)
            gone = [entry for entry in content if not (self.root / entry.path).exists()]
            if not gone:
                return
            self._bring_all(stager, gone)
        raise PartFailed(
            f"{self.root} loses the files of {self.model.name} while they are written",
            remedy="stop what deletes there (a server that is started again and again?), and try again",
        )

    def _bring_all(self, stager: Stager, entries: Sequence[FileEntry]) -> None:
        total, done = sum(entry.size for entry in entries), 0
        for entry in entries:
            target = self.root / safe_path(entry.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            if entry.path.endswith(".refs") and target.exists():
                _add_lines(stager, entry, target)
            else:
                stager.bring(entry, target)
            stager.own(target, entry)
            done += entry.size
            if total:
                stager.progress(f"restore {self.model.name}", done, total, "bytes")

    def _keep_manifest(self, before: CacheModel) -> None:
        """Give the model that loses its tag another one: a hard link to the same manifest."""
        path = next(path for path in before.files if path.startswith("manifests/"))
        old = self.root / path
        kept = old.with_name(f"{old.name}-before-{short(before.revision)}")
        if not kept.exists():
            os.link(old, kept)

    def _snapshot_at_once(self, stager: Stager, naming: Sequence[FileEntry]) -> list[FileEntry]:
        """Make a hub snapshot's folder whole under another name and rename it; what is left is returned.

        Where some of the snapshot is there already, the rest is added file by file."""
        parts = {entry.path: entry.path.split("/") for entry in naming}
        inside = [entry for entry in naming if parts[entry.path][1:2] == ["snapshots"]]
        if self.layout != "huggingface" or not inside:
            return list(naming)
        repo, commit = parts[inside[0].path][0], self.model.revision
        folder = self.root / repo / "snapshots" / commit
        if folder.exists():
            return list(naming)
        prefix = f"{repo}/snapshots/{commit}/"
        draft = self.root / ".locks" / f".restoring-{mark(f'{repo}/{commit}')}"
        remove_drafts(draft.parent, but=draft)
        for entry in inside:
            if not entry.path.startswith(prefix):
                raise PartFailed(
                    f"{entry.path} is of another revision than {commit}", remedy="export it again"
                )
            target = draft / entry.path.removeprefix(prefix)
            target.parent.mkdir(parents=True, exist_ok=True)
            stager.bring(entry, target)
            stager.own(target, entry)
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft.rename(folder)
        stager.own(self.root / inside[0].path, inside[0])
        return [entry for entry in naming if entry not in inside]

    def _fill_empty(self, stager: Stager, absent: Sequence[FileEntry]) -> None:
        """A cache that is one model as a whole is filled only where nothing is."""
        if absent and self.inventory.files:
            raise PartFailed(
                f"the whole of {self.root} is one model, and other files are in it",
                remedy="restore the whole cache, or name an empty folder",
            )
        stager.fill(self.layout, self.entries)


def _add_lines(stager: Stager, entry: FileEntry, target: Path) -> None:
    """Who uses shared content: those that do already, and those that come with the model."""
    draft = target.with_name(f".staging-{mark(target.name)}")
    stager.bring(entry, draft)
    lines = dict.fromkeys(
        (*target.read_text(encoding="utf-8").splitlines(), *draft.read_text(encoding="utf-8").splitlines())
    )
    draft.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    draft.replace(target)
