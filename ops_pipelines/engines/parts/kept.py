"""What restores have kept of parts that they replaced: found by the names that a switch gives, and removed.

A name alone proves little, so each kind asks the place itself whether anybody lives there before it removes it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from ops_pipelines.engines.parts._folders import Staging
from ops_pipelines.engines.parts.bucket import Objects
from ops_pipelines.engines.ports import VectorStore
from ops_pipelines.errors import Refused
from ops_pipelines.policy.databases import before_name
from ops_pipelines.policy.objects import beside
from ops_pipelines.policy.store import ObjectInfo

_AWAY = ".removing-"
"""Word in the name of a kept folder that is just being removed: it is not whole any more."""
_BATCH = 1000


@dataclass(frozen=True)
class KeptPlace:
    """One old content."""

    part: str
    name: str
    """By which it is removed."""
    detail: str = ""
    """What is in it, where that can be told."""
    size: int | None = None
    """Bytes; None where nobody can tell."""
    made: datetime | None = None
    """When it was replaced; None where nobody can tell."""


class Keeper(Protocol):
    """One part whose restores keep what was there."""

    @property
    def part(self) -> str: ...

    def kept(self) -> tuple[KeptPlace, ...]:
        """What is kept now. Raises OpsError where that cannot be seen."""
        ...

    def remove(self, name: str) -> None:
        """Remove one of `kept`. Raises Refused for what is live, or about to be."""
        ...


@dataclass(frozen=True)
class KeptFolders:
    """Folders beside those of a cache or a volume."""

    part: str
    live: Sequence[Path]

    def kept(self) -> tuple[KeptPlace, ...]:
        """`NAME.before-*` beside each live folder, with the bytes in it."""
        found: list[KeptPlace] = []
        for root in dict.fromkeys(one.resolve() for one in self.live):
            try:
                paths = sorted(one for one in root.parent.iterdir() if one.name.startswith(_words(root)))
                found += [_folder(self.part, one) for one in paths if one.is_dir() and not one.is_symlink()]
            except FileNotFoundError:
                continue  # no folder, so nothing beside it
            except OSError as error:
                raise Refused(
                    f"{root.parent} cannot be read: {error.strerror}", remedy="mend its rights"
                ) from error
        return tuple(found)

    def remove(self, name: str) -> None:
        """Rename it, so that nobody takes the rest of it for all, and delete it."""
        path = Path(name)
        roots = [one.resolve() for one in self.live]
        root = next((one for one in roots if _is_kept(one, path)), None)
        if root is None or path.resolve() in roots or os.path.ismount(path):
            raise Refused(f"{path} is nothing that a restore of {self.part} kept",
                          remedy="name what `ops-pipelines kept STACK` lists")  # fmt: skip
        for file in root.parent.glob(f"{root.name}.restore-*.json"):
            note = Staging(file.with_suffix(""), root).note()
            if note is None or note.before == str(path):
                raise Refused(f"a switch that is not finished may need {path} ({file})",
                              remedy="run the restore again, which finishes it")  # fmt: skip
        away = root.with_name(path.name.replace(".before-", _AWAY, 1))
        if away != path:
            path.rename(away)
        for folder, _, _ in os.walk(away):
            os.chmod(folder, 0o700)
        shutil.rmtree(away)


def _words(root: Path) -> tuple[str, str]:
    """How the names of a live folder's kept ones begin."""
    return f"{root.name}.before-", f"{root.name}{_AWAY}"


def _is_kept(root: Path, path: Path) -> bool:
    return (
        path.parent == root.parent
        and path.name.startswith(_words(root))
        and not path.is_symlink()
        and path.is_dir()
    )


def _folder(part: str, path: Path) -> KeptPlace:
    """Its bytes on disk; a file with further names (hard links, such as those of the live one) frees none."""
    size = files = 0
    unread: list[OSError] = []
    for folder, _, names in os.walk(path, onerror=unread.append):
        for name in names:
            state = os.lstat(os.path.join(folder, name))
            files += 1
            size += state.st_blocks * 512 if state.st_nlink == 1 else 0
    # A rename changes the folder's own time, and nothing in it does.
    made = datetime.fromtimestamp(path.stat().st_ctime, UTC)
    rest = ", partly removed" if _AWAY in path.name else ""
    return KeptPlace(part, str(path), f"{files} files{rest}", None if unread else size, made)


@dataclass(frozen=True)
class KeptObjects:
    """Objects of a bucket that were replaced, each switch's below a prefix of its own."""

    name: str
    objects: Objects
    prefix: str

    @property
    def part(self) -> str:
        """The part's key."""
        return f"bucket/{self.name}"

    def kept(self) -> tuple[KeptPlace, ...]:
        """`PREFIX.before-WORD/` with the bytes below it."""
        start = beside(self.prefix, "", "before")[:-1]
        found: dict[str, list[ObjectInfo]] = {}
        for info in self.objects.list(start):
            word, slash, _ = info.key.removeprefix(start).partition("/")
            if word and slash:
                found.setdefault(f"{start}{word}/", []).append(info)
        return tuple(
            KeptPlace(self.part, name, f"{len(each)} objects of {self.objects.name}", sum(one.size for one in each),
                      min(one.modified for one in each))
            for name, each in sorted(found.items())
        )  # fmt: skip

    def remove(self, name: str) -> None:
        """Delete the objects, but for those of a switch that is not finished."""
        _require(self, name)
        notes = f"{self.prefix.rstrip('/')}.restores/"
        for info in list(self.objects.list(notes)):
            if name.removesuffix("/") in self.objects.get(info.key).decode("utf-8", "replace"):
                raise Refused(f"a switch that is not finished may need {name} ({info.key})",
                              remedy="run the restore again, which finishes it")  # fmt: skip
        keys = [info.key for info in self.objects.list(name)]
        for start in range(0, len(keys), _BATCH):
            self.objects.delete(keys[start : start + _BATCH])


@dataclass(frozen=True)
class KeptCollections:
    """Collections of Milvus that a name once led to."""

    name: str
    store: VectorStore
    others: frozenset[str] = frozenset()
    """Names of the stack's other collections."""

    @property
    def part(self) -> str:
        """The part's key."""
        return f"collection/{self.name}"

    def kept(self) -> tuple[KeptPlace, ...]:
        """`NAME__1`, `NAME__at_*` and `NAME__before_*` that no alias leads to, while something else is live."""
        aliases = self.store.aliases()
        if self.name not in aliases:
            return ()
        shape = re.compile(re.escape(self.name) + r"__(\d+|(at|before)_\w+)")
        names = [one for one in self.store.collections() if shape.fullmatch(one)]
        return tuple(
            KeptPlace(self.part, one, f"{self.store.count(one)} rows")
            for one in names
            if one not in aliases.values() and one not in self.others
        )

    def remove(self, name: str) -> None:
        """Drop it. The store refuses one that an alias leads to."""
        _require(self, name)
        self.store.drop(name)


class Databases(Protocol):
    """A server with databases that are renamed at a switch."""

    def databases(self) -> tuple[str, ...]: ...
    def weigh(self, database: str) -> int | None:
        """Bytes of a database on disk; None where the server does not tell."""
        ...

    def drop_unused(self, database: str) -> None:
        """Drop a database. Raises Refused where somebody is connected to it."""
        ...


@dataclass(frozen=True)
class KeptDatabases:
    """Databases of PostgreSQL or ClickHouse beside the one of a name."""

    part: str
    database: str
    server: Databases

    def kept(self) -> tuple[KeptPlace, ...]:
        """`NAME__before_*`, while NAME is there: between the steps of a switch the kept one may be all there is."""
        there = self.server.databases()
        if self.database not in there:
            return ()
        mine = [one for one in there if _is_before(self.database, one)]
        return tuple(KeptPlace(self.part, one, size=self.server.weigh(one)) for one in mine)

    def remove(self, name: str) -> None:
        """Drop it, if nobody is connected to it."""
        _require(self, name)
        self.server.drop_unused(name)


def _is_before(name: str, candidate: str) -> bool:
    word = candidate.rpartition("__before_")[2]
    return word != candidate and candidate == before_name(name, word)


class NumberedDatabases(Protocol):
    """A Redis server."""

    def marks(self) -> Mapping[int, Mapping[str, str]]: ...
    def empty(self, number: int, mark: Mapping[str, str]) -> None: ...


@dataclass(frozen=True)
class KeptNumbers:
    """Logical databases of Redis whose mark says that a switch kept them."""

    name: str
    server: NumberedDatabases

    @property
    def part(self) -> str:
        """The part's key."""
        return f"database/{self.name}"

    def kept(self) -> tuple[KeptPlace, ...]:
        """Named `PLACE@NUMBER`."""
        return tuple(
            KeptPlace(self.part, f"{mark['place']}@{number}", f"once logical database {mark.get('of', '?')}")
            for number, mark in sorted(self._mine().items())
        )

    def remove(self, name: str) -> None:
        """Empty it, while its mark is what it was when it was looked at."""
        _require(self, name)
        number = int(name.rpartition("@")[2])
        self.server.empty(number, self._mine()[number])

    def _mine(self) -> dict[int, Mapping[str, str]]:
        return {
            number: mark
            for number, mark in self.server.marks().items()
            if _is_before(self.name, mark.get("place", ""))
        }


class AliasedCollections(Protocol):
    """A Qdrant server."""

    def aliases(self) -> Mapping[str, str]: ...
    def count(self, name: str) -> int: ...
    def delete(self, name: str) -> None: ...


@dataclass(frozen=True)
class KeptPoints:
    """Collections of Qdrant to which only aliases of kept ones lead."""

    name: str
    server: AliasedCollections

    @property
    def part(self) -> str:
        """The part's key."""
        return f"collection/{self.name}"

    def kept(self) -> tuple[KeptPlace, ...]:
        """Collections behind `NAME__before_*`, but for those that another alias leads to as well."""
        aliases = self.server.aliases()
        used = {target for alias, target in aliases.items() if not _is_before(self.name, alias)}
        kept = {target for alias, target in aliases.items() if _is_before(self.name, alias)} - used
        return tuple(KeptPlace(self.part, one, f"{self.server.count(one)} points") for one in sorted(kept))

    def remove(self, name: str) -> None:
        """Delete it; its aliases go with it (https://api.qdrant.tech/api-reference/collections/delete-collection)."""
        _require(self, name)
        self.server.delete(name)


def _require(keeper: Keeper, name: str) -> None:
    """Look again, just before it is removed: what has become live since is no longer kept."""
    if name not in {one.name for one in keeper.kept()}:
        raise Refused(f"{name} is nothing that a restore of {keeper.part} kept, or is live by now",
                      remedy="name what `ops-pipelines kept STACK` lists")  # fmt: skip
