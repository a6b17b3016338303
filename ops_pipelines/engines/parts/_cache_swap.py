"""A model that is a folder of its own, replaced by another revision; the old folder stays, under another name.

    NAME                       the live folder
    .restoring-<16 hex>        the new one, while it is filled; in it a marker
    NAME.before-<revision>     what was live before

The two change places in one system call. Until the old folder has its new name, the marker, now in the live
folder, says which draft it was and how the old folder is to be called: so a killed run is seen and finished.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ops_pipelines.engines.parts import _folders
from ops_pipelines.engines.parts._cache_stage import Donors, Stager
from ops_pipelines.engines.parts._folders import sync_all
from ops_pipelines.policy.manifest import FileEntry


def mark(text: str) -> str:
    """Sixteen digits that stand for a text in a name."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


_MARKER = f".staging-{mark('marker')}"


@dataclass(frozen=True)
class Swap:
    """One folder `name` of `root` that is to become `revision`; what it is now will be called `kept`."""

    root: Path
    name: str
    revision: str
    kept: str

    @property
    def live(self) -> Path:
        """The folder itself."""
        return self.root / self.name

    @property
    def draft(self) -> Path:
        """Where the new content is put together. Another revision has another draft."""
        return self.root / f".restoring-{mark(f'{self.name}@{self.revision}')}"

    def run(self, stager: Stager, entries: Sequence[FileEntry]) -> None:
        """Finish what a killed run began; then make the folder hold `entries`, where there are any."""
        self._finish()
        remove_drafts(self.root, but=self.draft)
        if not entries:
            return
        inside = [replace(entry, path=entry.path.removeprefix(f"{self.name}/")) for entry in entries]
        # What lies in a plain folder may be written into: copied, never linked.
        donors = Donors({}, {**stager.donors.linkable, **stager.donors.copyable})
        self.draft.mkdir(exist_ok=True)
        free = self._free_name()
        (self.draft / _MARKER).write_text(f"{self.draft.name}\n{free}", encoding="utf-8")
        replace(stager, folder=self.draft, donors=donors).fill("directory", inside, spare=_MARKER)
        sync_all(self.draft)
        if self.live.exists() and not _folders.exchange(self.draft, self.live):
            self.live.rename(self.root / free)
        if not self.live.exists():
            self.draft.rename(self.live)
        self._finish()

    def _finish(self) -> None:
        """A draft without its marker is the old folder: the two have changed places."""
        marker = self.live / _MARKER
        try:
            draft, _, free = marker.read_text(encoding="utf-8").partition("\n")
        except (FileNotFoundError, NotADirectoryError):
            return
        old = self.root / draft
        ours = draft.startswith(".restoring-") and "/" not in f"{draft}{free}"
        if ours and old.is_dir() and not (old / _MARKER).exists():
            old.rename(self.root / free)
        marker.unlink()
        sync_all(self.root)

    def _free_name(self) -> str:
        base = self.kept or f"{self.name}.before"
        names = (f"{base}{suffix}" for suffix in ("", *(f"-{number}" for number in range(2, 1000))))
        return next(name for name in names if not (self.root / name).exists())


def remove_drafts(folder: Path, *, but: Path) -> None:
    """Delete what killed runs left half: folders that were being filled. An old folder, without a marker, stays."""
    for draft in folder.glob(".restoring-*") if folder.is_dir() else ():
        if draft != but and ((draft / _MARKER).exists() or folder.name == ".locks"):
            shutil.rmtree(draft)
