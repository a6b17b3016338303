"""The keys of a Redis server as a part: its own save, walked and counted.

    dump.rdb    the save, of one moment: a server that starts on it has everything

A restore needs no shell on the server's machine: every value goes back as the save holds it (RESTORE), into logical
databases that are empty, beside the live ones. A switch is one transaction of SWAPDB; what was live
keeps its content under the other number, until somebody empties it.
"""

from __future__ import annotations

import hashlib
import mmap
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from ops_pipelines.engines._blobs import file_digest
from ops_pipelines.engines.parts._names import place_of
from ops_pipelines.engines.ports import Capture, Captured, Fetch, Progress
from ops_pipelines.errors import OpsError, PartFailed
from ops_pipelines.policy.databases import before_name, word_of
from ops_pipelines.policy.manifest import FileEntry, Part
from ops_pipelines.policy.plan import Finding, Step
from ops_pipelines.policy.rdb import Key, Library, NotAnRdb, checked, payload, walk
from ops_pipelines.policy.redis_saves import (
    MARK,
    Content,
    RedisFacts,
    SaveState,
    Stored,
    content_problem,
    digest_of,
    read_save,
    state_from_facts,
    without_mark,
)

SAVE = "dump.rdb"
_LOOKS = 3
"""Times that keys are listed before they count as others: a server may list one twice."""
_PLACE, _OF = "place", "of"
"""Words of a mark: what a logical database was filled as, and which one it stands beside."""
_CODE = "code"
"""Words of a mark that begin so hold the code of functions, which are loaded at the switch."""


class RedisServer(Protocol):
    """What the part asks of its server's adapter (adapters/redis.py)."""

    @property
    def at(self) -> str: ...
    def facts(self) -> RedisFacts: ...
    def save(self, path: Path, progress: Callable[[int], None]) -> None: ...
    def marks(self) -> Mapping[int, Mapping[str, str]]: ...
    def claim(self, number: int, mark: Mapping[str, str]) -> bool: ...
    def fill(self, number: int, keys: Iterable[Stored], counted: Callable[[int], None]) -> None: ...
    def kinds(self, number: int) -> Iterator[tuple[bytes, str]]: ...
    def swap(self, pairs: Mapping[int, int], before: Mapping[str, str], functions: Iterable[str]) -> None: ...
    def empty(self, number: int, mark: Mapping[str, str]) -> None: ...


@dataclass(frozen=True)
class RedisSource:
    """The keys of one server, or of one of its logical databases (`only`)."""

    name: str
    server: RedisServer
    only: int | None = None
    needs: tuple[str, ...] = ()
    kind: str = "database"

    def capture(self, scratch: Path, progress: Progress) -> Capture:
        """Take its save, check the checksum, and walk it to its end: what cannot be put back is not kept."""
        found = self.server.facts()
        _refuse_cluster(self.name, self.server.at, found)
        path = scratch / SAVE
        self.server.save(path, lambda done: progress(f"save {self.name}", done, None, "bytes"))
        path.chmod(0o600)
        try:
            with _mapped(path) as content:
                state = read_save(content, self.only, found.dataset)
        except NotAnRdb as error:
            raise PartFailed(
                f"database/{self.name}: the save of {self.server.at} cannot be used: {error}",
                remedy="try again; if it stays so, this version does not know the server's: set `backup: false` "
                "for it and copy its dump.rdb by hand meanwhile",
            ) from error
        facts = {**state.to_facts(), "only": self.only, "needs": list(self.needs)}
        entry = FileEntry(SAVE, path.stat().st_size, file_digest(path), 0o600)
        return Capture((Captured(entry, path),), facts, "quiesced")


@dataclass(frozen=True)
class RedisTarget:
    """The server that keys are restored to."""

    name: str
    server: RedisServer
    scratch: Path
    """Folder for the save while it is restored."""
    kind: str = "database"

    def plan(self, part: Part, into: str | None) -> tuple[Step, ...]:
        """The logical databases that would be filled, and what they would replace."""
        state, place = _state(part), place_of(self.name, into or _word(part))
        steps = []
        for number, content in sorted(state.databases.items()):
            words = f"an empty logical database beside {number}: {content.keys} keys"
            if content.expiring:
                words += f", of which {content.expiring} go by themselves and may be gone by now"
            steps.append(Step("create", part.key, words, part.size))
        if into is not None:
            steps.append(Step("keep", part.key, f"{place} is for looking at: a later restore removes it"))
            return tuple(steps)
        used = self.server.facts().used
        for number in sorted(state.databases):
            kept = "the old one is kept under the other's number" if number in used else "which is empty now"
            steps.append(Step("switch", part.key, f"logical database {number}: {kept}"))
        if part.facts.get("only") is None and (others := sorted(used.keys() - state.databases.keys())):
            numbers = ", ".join(map(str, others))
            steps.append(
                Step("keep", part.key, f"logical database {numbers}: not in the snapshot, left alone")
            )
        return tuple(steps)

    def stage(self, part: Part, into: str | None, fetch: Fetch, progress: Progress) -> str:
        """Fill empty logical databases and return the name of the place. What an earlier, killed call left of it
        is emptied first. Raises PartFailed where there is no room: no empty one, or too little memory."""
        state, place = _state(part), place_of(self.name, into or _word(part))
        found = self.server.facts()
        _refuse_cluster(self.name, self.server.at, found)
        self.discard(place)
        self._require_memory(part, state, found)
        folder = self.scratch / place
        shutil.rmtree(folder, ignore_errors=True)
        try:
            folder.mkdir(parents=True, mode=0o700)
            fetch(part.files[0], folder / SAVE)
            with _mapped(folder / SAVE) as content:
                checked(content)
                numbers = self._claim(part, place, state, _codes(content, part))
                for of, number in numbers.items():
                    step = f"restore {self.name}: logical database {of}"
                    counted = partial(_tell, progress, step, state.databases[of].keys)
                    self.server.fill(number, _stored(content, of), counted)
        except NotAnRdb as error:
            raise PartFailed(f"{part.key}: its save cannot be read: {error}",
                             remedy="restore another snapshot") from error  # fmt: skip
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return place

    def check(self, part: Part, place: str, *, full: bool) -> tuple[Finding, ...]:  # noqa: ARG002 - all is compared
        """Keys of each logical database against those of the save: how many, their names and types.

        Their values were checked by the server, each against its checksum, when it took them."""
        state = _state(part)
        try:
            placed, used = self._numbers(place), self.server.facts().used
            findings = [
                self._compare(part, of, content, placed, used)
                for of, content in sorted(state.databases.items())
            ]
        except OpsError as error:
            return (Finding(part.key, None, error.message, error.remedy),)
        if not findings:
            return (Finding(part.key, True, "no keys: as recorded"),)
        return tuple(findings)

    def switch(self, part: Part, place: str) -> str:
        """Exchange the filled logical databases with the live ones, all in one transaction."""
        place, state = place_of(self.name, place), _state(part)
        marks = self.server.marks()
        pairs = {int(mark[_OF]): number for number, mark in marks.items() if mark.get(_PLACE) == place}
        if pairs.keys() != state.databases.keys():
            raise PartFailed(f"{place} is not there to be switched to", remedy="restore again")
        codes = {
            key: code
            for number in pairs.values()
            for key, code in marks[number].items()
            if key.startswith(_CODE)
        }
        used = self.server.facts().used
        kept = [f"{number}" for of, number in sorted(pairs.items()) if of in used]
        before = {_PLACE: before_name(self.name, word_of(self.name, place) or "")}
        if pairs:
            self.server.swap(pairs, before, [codes[key] for key in sorted(codes)])
        return f"logical database {', '.join(kept)} of {self.server.at}" if kept else ""

    def discard(self, place: str) -> None:
        """Empty the logical databases that `stage` filled. Any other is refused."""
        if word_of(self.name, place) is None:
            raise PartFailed(f"{place} is nothing that a restore of {self.name} made",
                             remedy="empty it by hand if it is not needed")  # fmt: skip
        for number, mark in self.server.marks().items():
            if mark.get(_PLACE) == place:
                self.server.empty(number, mark)

    def leftovers(self) -> tuple[str, ...]:
        """Places that an earlier restore or drill filled and nobody switched to."""
        places = {mark.get(_PLACE, "") for mark in self.server.marks().values()}
        return tuple(sorted(place for place in places if word_of(self.name, place) is not None))

    def _claim(self, part: Part, place: str, state: SaveState, codes: Mapping[str, str]) -> dict[int, int]:
        """An empty logical database for each of the save's, marked."""
        found = self.server.facts()
        free = (number for number in range(found.databases)
                if number not in found.used and number not in state.databases)  # fmt: skip
        claimed: dict[int, int] = {}
        for of in sorted(state.databases):
            mark = {_PLACE: place, _OF: str(of), **(codes if not claimed else {})}
            number = next((number for number in free if self.server.claim(number, mark)), None)
            if number is None:
                raise PartFailed(
                    f"{part.key}: {self.server.at} has {found.databases} logical databases, and no empty one is left",
                    remedy="remove what earlier restores kept (`ops-pipelines kept STACK`), or give the server more "
                    "(`databases`)",
                )
            claimed[of] = number
        return claimed

    def _require_memory(self, part: Part, state: SaveState, found: RedisFacts) -> None:
        if state.memory and found.limit and found.memory + state.memory > found.limit:
            raise PartFailed(
                f"{part.key}: {self.server.at} uses {found.memory} of {found.limit} bytes, and its restored keys take "
                f"{state.memory} more until it is switched; it would evict or refuse live keys",
                remedy="raise maxmemory, or restore into another server, or start one on the snapshot's dump.rdb",
            )

    def _numbers(self, place: str) -> dict[int, int]:
        place = place_of(self.name, place)
        return {
            int(mark[_OF]): number
            for number, mark in self.server.marks().items()
            if mark.get(_PLACE) == place
        }

    def _compare(
        self,
        part: Part,
        of: int,
        wanted: Content,
        placed: Mapping[int, int],
        used: Mapping[int, tuple[int, int]],
    ) -> Finding:
        subject = f"{part.key}: logical database {of}"
        number = placed.get(of)
        if number is None or number not in used:
            return Finding(subject, False, "is not there", "restore again")
        keys, expiring = used[number]
        for _ in range(_LOOKS):
            digest = digest_of(self.server.kinds(number))
            problem = content_problem(wanted, keys - 1, expiring, digest)
            if problem is None or not content_problem(without_mark(wanted), keys - 1, expiring, digest):
                problem = None
                break
        if problem:
            return Finding(subject, False, problem, "restore again, or another snapshot")
        gone = wanted.expiring - expiring
        words = f"{keys - 1} keys: as recorded" + (f", {gone} have expired since" if gone else "")
        return Finding(subject, True, words)


def _refuse_cluster(name: str, at: str, found: RedisFacts) -> None:
    if found.cluster:
        raise PartFailed(
            f"database/{name}: {at} is a node of a Redis Cluster, which is not backed up by this version: "
            "each node holds a share of the keys only",
            remedy="set `backup: false` for it",
        )


def _state(part: Part) -> SaveState:
    try:
        return state_from_facts(part.facts)
    except ValueError as error:
        raise PartFailed(f"{part.key}: {error}", remedy="restore another snapshot") from error


def _codes(content: mmap.mmap, part: Part) -> dict[str, str]:
    """Functions, as words of a mark; none where one logical database alone is kept."""
    if not part.facts.get("libraries") or part.facts.get("only") is not None:
        return {}
    codes = (item.code.decode() for item in walk(content) if isinstance(item, Library))
    return {f"{_CODE}{number:04d}": code for number, code in enumerate(codes)}


def _stored(content: mmap.mmap, database: int) -> Iterator[Stored]:
    for item in walk(content):
        # Else the mark of what an earlier restore kept would take the place of this one's.
        if isinstance(item, Key) and item.database == database and item.key != MARK.encode():
            yield Stored(item.key, payload(content, item), item.expires, item.idle, item.frequency)


def _tell(progress: Progress, step: str, total: int, done: int) -> None:
    progress(step, done, total, "keys")


def _word(part: Part) -> str:
    return hashlib.sha256(part.files[0].sha256.encode()).hexdigest()[:12]


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    """A file as memory that is read as it is looked at."""
    if not path.stat().st_size:
        raise NotAnRdb("it is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        yield content
