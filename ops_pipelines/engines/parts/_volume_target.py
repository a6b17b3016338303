"""Where a volume is restored to: a folder beside each replica's live one, put in its place in one step."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from ops_pipelines.engines.parts._beside import (
    beside,
    copy_at,
    discard_all,
    leftovers,
    live_folders,
    require_replaceable,
    switch_all,
)
from ops_pipelines.engines.parts._cache_stage import disk_errors
from ops_pipelines.engines.parts._folders import Staging, sync_all
from ops_pipelines.engines.parts._volume_stage import VolumeStager, compare_volume
from ops_pipelines.engines.ports import Fetch, Progress
from ops_pipelines.errors import PartFailed, SnapshotDamaged
from ops_pipelines.policy.manifest import FileEntry, FolderEntry, Part
from ops_pipelines.policy.paths import leaving
from ops_pipelines.policy.plan import Finding, Step

_MOST_REPLICAS = 1000
Entry = TypeVar("Entry", FileEntry, FolderEntry)


@dataclass(frozen=True)
class VolumeTarget:
    """The folders of one volume, one for each replica.

    A place is named `<folder>.restore-<word>` beside the first replica's folder, and likewise beside the others'.
    A place with a `/` in it is a path of its own: a copy, replica by replica, which is never switched."""

    name: str
    roots: tuple[Path, ...]
    kind: str = "volume"

    def plan(self, part: Part, into: str | None) -> tuple[Step, ...]:
        """What would be brought, and what switched."""
        steps: list[Step] = []
        for staging, files, _ in self._replicas(part, into or _word(part)):
            size = sum(entry.size for entry in files)
            steps.append(Step("fetch", part.key, f"{len(files)} files to {staging.path}", size))
            if into is None:
                detail = f"{staging.live}; the old content is kept beside it"
                steps.append(Step("switch", part.key, detail))
        if left := part.facts.get("outside"):
            steps.append(
                Step("check", part.key, f"links out of the volume, to be made by hand: {', '.join(left)}")
            )
        return tuple(steps)

    def stage(self, part: Part, into: str | None, fetch: Fetch, progress: Progress) -> str:
        """Fill the place beside every replica, and return its name (the first folder's path).

        Called again after a crash it goes on. Raises PartFailed, with the live folders as they were."""
        replicas = self._replicas(part, into or _word(part))
        for staging, files, folders in replicas:
            with disk_errors(staging.path, part.size):
                require_replaceable(staging)
                if staging.switching:
                    staging.remove()
                staging.path.parent.mkdir(parents=True, exist_ok=True)
                staging.begin(_digest(part))
                donor = staging.live if into is None else None
                VolumeStager(staging.path, donor, fetch, progress).fill(files, folders)
                sync_all(staging.path)
            if (note := staging.note()) is not None:
                staging.write_note(replace(note, whole=True))
        return str(replicas[0][0].path)

    def check(self, part: Part, place: str, *, full: bool) -> tuple[Finding, ...]:
        """Each staged folder against the manifest: files, links, modes, owners, digests (`full`: all of them)."""
        findings: list[Finding] = []
        remedy = "try again; if it stays, restore another snapshot"
        for staging, files, folders in self._replicas(part, place):
            wrong = compare_volume(staging.content, files, folders, full=full)
            findings += [
                Finding(f"{part.key}: {path}", False, f"{path} {why}", remedy) for path, why in wrong
            ]
            if not wrong:
                said = "all digests" if full else "all sizes and a sample of the digests"
                findings.append(
                    Finding(part.key, True, f"{len(files)} files in {staging.path}: {said} match")
                )
        if part.facts.get("outside"):
            words = f"links that led out of the volume are not in it: {', '.join(part.facts['outside'])}"
            findings.append(
                Finding(part.key, False, words, "make them by hand where they are missed", "warning")
            )
        return tuple(findings)

    def switch(self, part: Part, place: str) -> str:
        """Put the place into the live folders' place, and say where the old folders are kept.

        Each folder is replaced in one step. After a crash the same call does what is left."""
        stagings = [staging for staging, _, _ in self._replicas(part, place)]
        with disk_errors(stagings[0].path):
            return switch_all(stagings, part.key, _digest(part))

    def discard(self, place: str) -> None:
        """Delete a staged place. Where its switch has begun, it is finished: nothing live is deleted."""
        discard_all(self._stagings(place, len(self.roots)), self._live(), f"volume {self.name}")

    def leftovers(self) -> tuple[str, ...]:
        """Places beside the live folders that an earlier restore or drill left."""
        return leftovers(self._live())

    def _live(self) -> list[Path]:
        return live_folders(self.roots)

    def _replicas(
        self, part: Part, place: str
    ) -> list[tuple[Staging, Sequence[FileEntry], Sequence[FolderEntry]]]:
        """What goes where. Raises PartFailed where more replicas were kept than there are now."""
        kept = _kept(part)
        if kept == 1:
            return [(staging, part.files, part.folders) for staging in self._stagings(place, 1)]
        if kept > len(self.roots) and "/" not in place:
            raise PartFailed(
                f"{part.key} was kept of {kept} replicas, and {len(self.roots)} are declared",
                remedy=f"set volumes.{self.name}.replicas to {kept}, or restore into a path (--into)",
            )
        found: list[tuple[Staging, Sequence[FileEntry], Sequence[FolderEntry]]] = []
        for number, staging in enumerate(self._stagings(place, kept)):
            files = _of_replica(part.files, number)
            # Inside the part, a link may lead from one replica to another; inside the replica, it leads out.
            if out := leaving({entry.path: entry.link for entry in files if entry.link is not None}):
                raise _damaged(part, f"the link {out[0]!r} leads out of replica {number}")
            found.append((staging, files, _of_replica(part.folders, number)))
        return found

    def _stagings(self, place: str, count: int) -> list[Staging]:
        live = self._live()
        path = copy_at(live, place)
        if path is None:
            return beside(live, place)[:count]
        others = (path.with_name(f"{path.name}.{number}") for number in range(1, count))
        return [Staging(one, None) for one in (path, *others)]


def _kept(part: Part) -> int:
    """How many replicas a part holds. Raises SnapshotDamaged where its files are not those of so many."""
    kept = part.facts.get("replicas", 1)
    if not isinstance(kept, int) or not 1 <= kept <= _MOST_REPLICAS:
        raise _damaged(part, f"it holds {kept!r} replicas")
    tops = {str(number) for number in range(kept)}
    paths = [*(entry.path for entry in part.files), *(folder.path for folder in part.folders)]
    stray = (path for path in paths if path.partition("/")[0] not in tops)
    if kept > 1 and (path := next(stray, None)) is not None:
        raise _damaged(part, f"{path!r} belongs to no replica")
    return kept


def _damaged(part: Part, why: str) -> SnapshotDamaged:
    return SnapshotDamaged(f"{part.key} is damaged: {why}", remedy="restore another snapshot")


def _of_replica(entries: Sequence[Entry], number: int) -> list[Entry]:
    """A replica's own entries, with their paths as they are in its folder."""
    top = str(number)
    mine = [entry for entry in entries if entry.path == top or entry.path.startswith(f"{top}/")]
    return [replace(entry, path=posixpath.relpath(entry.path, top)) for entry in mine]


def _digest(part: Part) -> str:
    """Digest of what a part holds: equal for equal content, modes and owners."""
    lines = [f"{e.path}\0{e.link or e.sha256}\0{e.mode}\0{e.uid}\0{e.gid}\n" for e in part.files]
    lines += [f"{e.path}\0\0{e.mode}\0{e.uid}\0{e.gid}\n" for e in part.folders]
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def _word(part: Part) -> str:
    """Name of the place of a restore that names none: the same for the same content, so that it goes on."""
    return _digest(part)[:12]
