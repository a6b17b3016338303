"""Where a model cache is restored to: a folder beside each replica's live one, put in its place in one step."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

from ops_pipelines.engines.parts._cache_stage import Donors, Stager, compare, disk_errors, owner_of
from ops_pipelines.engines.parts._folders import Staging, sync_all
from ops_pipelines.engines.ports import Fetch, Progress, TakeInventory, silent
from ops_pipelines.errors import PartFailed
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
        _require_movable(staging)
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
        for staging in stagings:
            if staging.live is None or not (staging.switching or _is_whole(staging, part)):
                raise PartFailed(
                    f"{staging.path} does not hold {part.key} whole beside a live folder",
                    remedy="restore again without naming a place; a named path is a copy and is not switched",
                )
            sync_all(staging.content)
        with disk_errors(stagings[0].path):
            for staging in stagings:
                staging.begin_switch()
            old = [staging.finish_switch() for staging in stagings]
            for staging in stagings:
                staging.forget()
        return ", ".join(name for name in old if name)

    def discard(self, place: str) -> None:
        """Delete a staged place. Where its switch has begun, it is finished: nothing live is deleted."""
        for staging in self._stagings(place):
            if staging.path.resolve() in {root.resolve() for root in self.roots}:
                raise PartFailed(
                    f"{staging.path} is the live folder of model cache {self.name}",
                    remedy="name a place that a restore made; leftovers are listed by the restore's plan",
                )
            if staging.note() is None and staging.path.exists() and staging.live is None:
                raise PartFailed(
                    f"{staging.path} was not made by a restore and is not deleted",
                    remedy="delete it by hand if nobody misses it",
                )
            staging.remove()

    def leftovers(self) -> tuple[str, ...]:
        """Places beside the live folders that an earlier restore or drill left."""
        words: set[str] = set()
        for root in self._live():
            prefix = f"{root.name}.restore-"
            names = os.listdir(root.parent) if root.parent.is_dir() else []
            words |= {
                name.removeprefix(prefix).removesuffix(".new").removesuffix(".json")
                for name in names
                if name.startswith(prefix)
            }
        first = self._live()[0]
        return tuple(str(first.with_name(f"{first.name}.restore-{word}")) for word in sorted(words))

    def folders(self, place: str) -> tuple[Path, ...]:
        """Where the content of a place lies, for whoever serves a restored model from it."""
        return tuple(staging.content for staging in self._stagings(place))

    def _live(self) -> list[Path]:
        """The folders themselves, where a cache's path is a link to one."""
        return [root.resolve() for root in self.roots]

    def _stagings(self, place: str) -> list[Staging]:
        live = self._live()
        prefix = f"{live[0]}.restore-"
        if "/" in place and not place.startswith(prefix):
            return [Staging(Path(place).absolute(), None)]
        word = place.removeprefix(prefix)
        if not word or word.strip(".") == "" or "/" in word or "\0" in word:
            raise PartFailed(f"{place!r} names no place", remedy="name a place by a word, or by a path")
        return [Staging(root.with_name(f"{root.name}.restore-{word}"), root) for root in live]

    def _donors(self, number: int, into: str | None, progress: Progress) -> Donors:
        """What the live cache can give, where it may."""
        root = self._live()[number] if into is None else None
        if root is None or not root.is_dir():
            return Donors()
        return Donors.of(self.inventory(number, progress))


def _is_whole(staging: Staging, part: Part) -> bool:
    note = staging.note()
    return note is not None and note.whole and note.part == _digest(part)


def _require_movable(staging: Staging) -> None:
    """A live folder that is a mount point cannot be renamed."""
    live = staging.live
    staging.path.parent.mkdir(parents=True, exist_ok=True)
    if live is not None and live.exists() and live.stat().st_dev != live.parent.stat().st_dev:
        raise PartFailed(
            f"{live} is the top of a mounted volume and cannot be replaced in one step",
            remedy="let the cache's `path` be a folder inside the volume (…/models), or restore into another"
            " place and copy from there",
        )


def _digest(part: Part) -> str:
    """Digest of what a part holds: equal for equal content."""
    lines = (f"{entry.path}\0{entry.link or entry.sha256}\0{entry.mode}\n" for entry in part.files)
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def _word(part: Part) -> str:
    """Name of the place of a restore that names none: the same for the same content, so that it goes on."""
    return _digest(part)[:12]
