"""A Qdrant collection as a part: the server's own snapshot of it.

    collection.snapshot    what the server made, with the checksum that it gave

A restore recovers it into `<name>__restore_<word>`, compares points and shape, and moves the alias by which
clients know it. Qdrant renames nothing: a collection that clients know by its own name is not switched.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from ops_pipelines.engines._blobs import file_digest
from ops_pipelines.engines.parts._names import free_before, place_of
from ops_pipelines.engines.ports import Capture, Captured, Fetch, Progress
from ops_pipelines.errors import OpsError, PartFailed
from ops_pipelines.policy.databases import word_of
from ops_pipelines.policy.manifest import FileEntry, Part
from ops_pipelines.policy.plan import Finding, Step
from ops_pipelines.policy.qdrant_collections import CollectionFacts, CollectionShape, differences, facts_of

_log = structlog.get_logger()
SNAPSHOT = "collection.snapshot"
_LYING = "delete those that nobody needs (DELETE /collections/NAME/snapshots/SNAPSHOT): they fill its disk"


class QdrantServer(Protocol):
    """What the part asks of its server's adapter (adapters/qdrant.py)."""

    @property
    def at(self) -> str: ...
    def version(self) -> str: ...
    def nodes(self) -> int: ...
    def collections(self) -> tuple[str, ...]: ...
    def aliases(self) -> Mapping[str, str]: ...
    def shape(self, name: str) -> CollectionShape: ...
    def count(self, name: str) -> int: ...
    def leftover_snapshots(self, name: str) -> tuple[str, ...]: ...
    def snapshot(self, name: str, path: Path, progress: Callable[[int, int | None], None]) -> None: ...
    def recover(self, name: str, path: Path, sha256: str) -> None: ...
    def delete(self, name: str) -> None: ...
    def point(self, aliases: Mapping[str, str], there: Sequence[str]) -> None: ...


@dataclass(frozen=True)
class QdrantSource:
    """One collection, as a backup sees it; `name` is the alias or the collection."""

    name: str
    server: QdrantServer
    kind: str = "collection"

    def capture(self, scratch: Path, progress: Progress) -> Capture:
        """Have the server make a snapshot, bring it here checked, and count the points on both sides of it."""
        _refuse_nodes(f"collection/{self.name}", self.server)
        physical = self.server.aliases().get(self.name, self.name)
        if lying := self.server.leftover_snapshots(physical):
            # A backup that was killed leaves one; whose they are cannot be told, so none is removed.
            _log.warning(
                "snapshots lie on the server", collection=physical, snapshots=list(lying), hint=_LYING
            )
        before, path = self.server.count(physical), scratch / SNAPSHOT
        self.server.snapshot(physical, path, lambda d, t: progress(f"snapshot of {self.name}", d, t, "bytes"))
        after = self.server.count(physical)
        facts = CollectionFacts(
            self.server.version(), self.server.shape(physical), after, min(before, after), max(before, after)
        )
        entry = FileEntry(SNAPSHOT, path.stat().st_size, file_digest(path), 0o600)
        # A collection that lost as many points as it won meanwhile looks still: the counts prove no more than this.
        return Capture((Captured(entry, path),), facts.to_facts(), "quiesced" if before == after else "fuzzy")


@dataclass(frozen=True)
class QdrantTarget:
    """One alias, on the server that holds its collection."""

    name: str
    server: QdrantServer
    scratch: Path
    """Folder for the snapshot on its way."""
    kind: str = "collection"

    def plan(self, part: Part, into: str | None) -> tuple[Step, ...]:
        """The collection that would be made, and what would lead to it."""
        facts, place = _facts(part), self._new(into, part)
        steps = [Step("create", part.key, f"the collection {place}: {facts.rows} points", part.size)]
        aliases = self.server.aliases()
        if into is not None:
            detail = f"{place} is for looking at: a later restore removes it"
            steps.append(Step("keep", part.key, detail))
        elif self.name in aliases:
            detail = f"the alias {self.name}, in one step; {aliases[self.name]} is kept"
            steps.append(Step("switch", part.key, detail))
        elif self.name in self.server.collections():
            steps.append(Step("check", part.key, _NO_ALIAS.format(name=self.name)))
        else:
            steps.append(Step("switch", part.key, f"the alias {self.name}, which is not there now"))
        return tuple(steps)

    def stage(self, part: Part, into: str | None, fetch: Fetch, progress: Progress) -> str:
        """Recover it into a new collection. Raises PartFailed, before anything is made, where it could not be
        switched to: clients know the collection by its own name."""
        facts, place = _facts(part), self._new(into, part)
        _refuse_nodes(part.key, self.server)
        if into is None and self.name in self.server.collections():
            raise PartFailed(
                f"{part.key}: {_NO_ALIAS.format(name=self.name)}",
                remedy="restore it beside (--into) and point the clients there, or use an alias from now on",
            )
        folder, (entry,) = self.scratch / place, part.files
        shutil.rmtree(folder, ignore_errors=True)
        self.server.delete(place)
        try:
            folder.mkdir(parents=True, mode=0o700)
            fetch(entry, folder / SNAPSHOT)
            progress(f"recover {self.name}", 0, facts.rows, "points")
            self.server.recover(place, folder / SNAPSHOT, entry.sha256)
            progress(f"recover {self.name}", facts.rows, facts.rows, "points")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return place

    def check(self, part: Part, place: str, *, full: bool) -> tuple[Finding, ...]:  # noqa: ARG002 - all is compared
        """Points, vectors and indexes of the payload against those at backup."""
        facts = _facts(part)
        try:
            place = place_of(self.name, place)
            different = differences(facts, self.server.shape(place), points := self.server.count(place))
        except OpsError as error:
            return (Finding(part.key, None, error.message, error.remedy),)
        if different:
            remedy = "restore again, or another snapshot"
            return tuple(Finding(part.key, False, words, remedy) for words in different)
        return (Finding(part.key, True, f"{points} points: as recorded"),)

    def switch(self, part: Part, place: str) -> str:  # noqa: ARG002 - the place says all
        """Move the alias. The old collection stays, and an alias of its own says what it was."""
        place, aliases = place_of(self.name, place), self.server.aliases()
        if place not in self.server.collections():
            raise PartFailed(f"the collection {place} is not there to be switched to", remedy="restore again")
        old = aliases.get(self.name)
        wanted = {self.name: place}
        if old is not None and old != place:
            wanted[free_before(self.name, place, aliases)] = old
        self.server.point(wanted, tuple(aliases))
        return old if old is not None and old != place else ""

    def discard(self, place: str) -> None:
        """Delete a place that `stage` made. Any other collection, and one that an alias leads to, is refused."""
        if word_of(self.name, place) is None or place in self.server.aliases().values():
            raise PartFailed(f"{place} is no collection that a restore of {self.name} made and nobody uses",
                             remedy="delete it by hand if it is not needed")  # fmt: skip
        self.server.delete(place)

    def leftovers(self) -> tuple[str, ...]:
        """Collections that an earlier restore or drill made, and no alias leads to."""
        used = set(self.server.aliases().values())
        found = (name for name in self.server.collections() if word_of(self.name, name) is not None)
        return tuple(name for name in found if name not in used)

    def _new(self, into: str | None, part: Part) -> str:
        """A place that no alias leads to: an earlier restore of the same snapshot may be live, or kept."""
        used, word = set(self.server.aliases().values()), into or part.files[0].sha256[:12]
        words = (word, *(f"{word[:26]}-{number}" for number in range(2, 1000)))
        return next(name for one in words if (name := place_of(self.name, one)) not in used)


_NO_ALIAS = "{name} is a collection and no alias, and Qdrant renames none: it cannot be switched"


def _refuse_nodes(key: str, server: QdrantServer) -> None:
    if (nodes := server.nodes()) > 1:
        raise PartFailed(
            f"{key}: {server.at} is made of {nodes} nodes, and a snapshot holds the share of one",
            remedy="set `backup: false` for it, and take each node's snapshots by Qdrant's own means",
        )


def _facts(part: Part) -> CollectionFacts:
    try:
        return facts_of(part.facts)
    except ValueError as error:
        raise PartFailed(f"{part.key}: {error}", remedy="restore another snapshot") from error
