"""Where a model cache is restored to: a folder beside each replica's live one, put in its place in one step."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from ops_pipelines.engines.parts._beside import (
    beside,
    copy_at,
    discard_all,
    leftovers,
    live_folders,
    require_replaceable,
    switch_all,
)
from ops_pipelines.engines.parts._cache_stage import Donors, Stager, compare, disk_errors, owner_of
from ops_pipelines.engines.parts._folders import Staging, sync_all
from ops_pipelines.engines.ports import Fetch, Progress, TakeInventory, silent
from ops_pipelines.policy.manifest import Part
from ops_pipelines.policy.plan import Finding, Step


@dataclass(frozen=True)
class ModelCacheTarget:
    """The folders of one model cache, one for each replica.

    A place is named `<folder>.restore-<word>` beside the first replica's folder, and likewise beside the
    others'. A place that has a `/` in it is a path of its own: one copy, which is never switched.
    """

    name: str
    layout: str
    roots: tuple[Path, ...]
    inventory: TakeInventory
    kind: str = "model_cache"

    def plan(self, part: Part, into: str | None) -> tuple[Step, ...]:
        """What would be linked or copied here, what fetched, and what switched."""
        stagings = self._stagings(into or _word(part))
        steps: list[Step] = []
        for number, staging in enumerate(stagings):
            donors = self._donors(number, into, silent)
            contents = {entry.sha256: entry.size for entry in part.files if entry.link is None}
            here = {digest: size for digest, size in contents.items() if donors.has(digest)}
            fetched = sum(size for digest, size in contents.items() if digest not in here)
            count = len(contents) - len(here)
            where = f"{part.key} replica {number}" if len(stagings) > 1 else part.key
            if here:
                steps.append(
                    Step("keep", where, f"{len(here)} files are here already, {sum(here.values())} bytes")
                )
            origin = "the first replica's copy" if number else "the bucket"
            steps.append(Step("fetch", where, f"{count} files from {origin} to {staging.path}", fetched))
            if into is None:
                steps.append(Step("switch", where, f"{staging.live}; the old content is kept beside it"))
        return tuple(steps)

    def stage(self, part: Part, into: str | None, fetch: Fetch, progress: Progress) -> str:
        """Fill the place beside every replica, and return its name (the first folder's path).

        A place that the caller named is fetched whole from the bucket, so that a drill proves what is stored;
        without a name, what the live cache holds with the same digest is linked or copied. Called again after
        a crash it goes on. Raises PartFailed, with the live folders as they were."""
        stagings = self._stagings(into or _word(part))
        brought: dict[str, Path] = {}
        for number, staging in enumerate(stagings):
            with disk_errors(staging.path):
                donors = self._donors(number, into, progress)
                donors.copyable = {**brought, **donors.copyable}
                self._stage_one(part, staging, donors, fetch, progress)
                brought = brought or {**donors.copyable}
        return str(stagings[0].path)

    def _stage_one(
        self, part: Part, staging: Staging, donors: Donors, fetch: Fetch, progress: Progress
    ) -> None:
        staging.path.parent.mkdir(parents=True, exist_ok=True)
        require_replaceable(staging)
        if staging.switching:
            staging.remove()
        staging.begin(_digest(part))
        Stager(staging.path, donors, fetch, progress, owner_of(staging.live)).fill(self.layout, part.files)
        if staging.live is not None and staging.live.exists():
            staging.path.chmod(staging.live.stat().st_mode & 0o7777)
        sync_all(staging.path)
        note = staging.note()
        if note is not None:
            staging.write_note(replace(note, whole=True))

    def check(self, part: Part, place: str, *, full: bool) -> tuple[Finding, ...]:
        """Each staged copy against the manifest: files, links, sizes, modes and digests (`full`: all of them)."""
        findings: list[Finding] = []
        for staging in self._stagings(place):
            wrong = compare(staging.content, part.files, full=full)
            findings += [
                Finding(
                    subject=f"{part.key}: {path}",
                    ok=False,
                    message=f"{path} {reason}",
                    remedy="try again; if it stays, restore another snapshot",
                )
                for path, reason in wrong
            ]
            if not wrong:
                said = "all digests" if full else "all sizes and a sample of the digests"
                findings.append(
                    Finding(part.key, True, f"{len(part.files)} files in {staging.path}: {said} match")
                )
        return tuple(findings)

    def switch(self, part: Part, place: str) -> str:
        """Put the place into the live folders' place, and say where the old folders are kept.

        Each folder is replaced in one step. After a crash the same call does what is left."""
        stagings = self._stagings(place)
        with disk_errors(stagings[0].path):
            return switch_all(stagings, part.key, _digest(part), lambda staging: sync_all(staging.content))

    def discard(self, place: str) -> None:
        """Delete a staged place. Where its switch has begun, it is finished: nothing live is deleted."""
        discard_all(self._stagings(place), self._live(), f"model cache {self.name}")

    def leftovers(self) -> tuple[str, ...]:
        """Places beside the live folders that an earlier restore or drill left."""
        return leftovers(self._live())

    def folders(self, place: str) -> tuple[Path, ...]:
        """Where the content of a place lies, for whoever serves a restored model from it."""
        return tuple(staging.content for staging in self._stagings(place))

    def _live(self) -> list[Path]:
        return live_folders(self.roots)

    def _stagings(self, place: str) -> list[Staging]:
        path = copy_at(self._live(), place)
        return beside(self._live(), place) if path is None else [Staging(path, None)]

    def _donors(self, number: int, into: str | None, progress: Progress) -> Donors:
        """What the live cache can give, where it may."""
        root = self._live()[number] if into is None else None
        if root is None or not root.is_dir():
            return Donors()
        return Donors.of(self.inventory(number, progress))


def _digest(part: Part) -> str:
    """Digest of what a part holds: equal for equal content."""
    lines = (f"{entry.path}\0{entry.link or entry.sha256}\0{entry.mode}\n" for entry in part.files)
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def _word(part: Part) -> str:
    """Name of the place of a restore that names none: the same for the same content, so that it goes on."""
    return _digest(part)[:12]
