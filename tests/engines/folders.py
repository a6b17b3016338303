"""Parts that are folders: the smallest real source and target, for tests of the engines around them."""

# ruff: noqa: ARG002 - parts take what the Protocol hands them, used or not

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ops_pipelines.engines.backup import take_snapshot
from ops_pipelines.engines.ports import Capture, Captured, Fetch, ObjectStore, PartSource, Progress
from ops_pipelines.errors import LeaseLost, PartFailed
from ops_pipelines.policy.layout import Layout
from ops_pipelines.policy.manifest import FileEntry, Manifest, Part
from ops_pipelines.policy.plan import Finding, Step


def now() -> datetime:
    return datetime.now(UTC)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def snapshot_of(sources: Sequence[PartSource], store: ObjectStore, scratch: Path, **words: Any) -> Manifest:
    """A snapshot of the stack `demo`, taken under a lease that is held, in a bucket without a prefix."""
    usual = {"layout": Layout(), "fence": HeldFence(), "clock": now}
    return take_snapshot("demo", sources, store=store, scratch=scratch, **(usual | words))


def nothing() -> None:
    """A tick that does nothing."""


@dataclass
class HeldFence:
    """A lease that is held, until `lost` says otherwise; `after` loses it after so many checks."""

    token: int = 7
    after: int | None = None
    checks: int = 0
    tick: Callable[[], None] = nothing

    def check(self) -> None:
        self.tick()
        self.checks += 1
        if self.after is not None and self.checks > self.after:
            raise LeaseLost("somebody else took the lease", remedy="run it again")


@dataclass
class FolderSource:
    """All files below a folder, read where they lie."""

    name: str
    root: Path
    kind: str = "volume"
    facts: dict[str, object] = field(default_factory=dict)
    before_return: Callable[[], None] = nothing

    def capture(self, scratch: Path, progress: Progress) -> Capture:
        (scratch / "used").write_text("a captured part uses its scratch folder")
        files = [path for path in sorted(self.root.rglob("*")) if path.is_file()]
        entries = []
        for path in files:
            content = path.read_bytes()
            entry = FileEntry(str(path.relative_to(self.root)), len(content), digest(content))
            entries.append(Captured(entry, path))
        self.before_return()
        return Capture(tuple(entries), self.facts or {"files": len(files)}, "quiesced")


@dataclass
class FolderTarget:
    """A part that lives in `base/live`, a link to one of the folders beside it: switching is one rename."""

    name: str
    base: Path
    kind: str = "volume"
    tick: Callable[[], None] = nothing
    spoil: bool = False
    """Alter what was staged, so that the check fails."""

    @property
    def live(self) -> Path:
        return self.base / "live"

    def plan(self, part: Part, into: str | None) -> tuple[Step, ...]:
        return (Step("fetch", part.key, "to a new folder", part.size), Step("switch", part.key))

    def stage(self, part: Part, into: str | None, fetch: Fetch, progress: Progress) -> str:
        place = self.base / (into or f"stage-{secrets.token_hex(3)}")
        if place.exists():
            raise PartFailed(f"{place} exists", remedy="name another place")
        for entry in part.files:
            self.tick()
            fetch(entry, place / entry.path)
        if self.spoil:
            (place / part.files[0].path).write_bytes(b"spoilt")
        self.tick()
        return str(place)

    def check(self, part: Part, place: str, *, full: bool) -> tuple[Finding, ...]:
        self.tick()
        wanted = {entry.path: entry.sha256 for entry in part.files}
        found = contents(Path(place))
        good = {path: digest(content) for path, content in found.items()} == wanted
        return (Finding(part.key, good, "as recorded" if good else "files differ"),)

    def switch(self, part: Part, place: str) -> str:
        self.tick()
        old = os.readlink(self.live)
        (self.base / f"{old}.was-live").touch()
        self.tick()
        link = self.base / "link"
        link.unlink(missing_ok=True)
        link.symlink_to(Path(place).name)
        self.tick()
        link.replace(self.live)
        self.tick()
        return str(self.base / old)

    def discard(self, place: str) -> None:
        self.tick()
        if Path(place).name == os.readlink(self.live):
            raise PartFailed(f"{place} is live", remedy="")
        shutil.rmtree(place)

    def leftovers(self) -> tuple[str, ...]:
        kept = {os.readlink(self.live)} | {
            p.name.removesuffix(".was-live") for p in self.base.glob("*.was-live")
        }
        return tuple(str(path) for path in sorted(self.base.glob("stage-??????")) if path.name not in kept)


def contents(folder: Path) -> dict[str, bytes]:
    """Bytes of every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def live_folder(base: Path, files: dict[str, bytes]) -> Path:
    """Make `base/live` hold `files`."""
    write_files(base / "original", files)
    (base / "live").symlink_to("original")
    return base


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    """Make a folder that holds `files`."""
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder
