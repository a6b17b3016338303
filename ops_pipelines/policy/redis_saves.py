"""What a Redis server holds, as a backup sees it: keys by logical database, and what proves them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ops_pipelines.policy.rdb import Auxiliary, Buffer, Key, Library, checked, version_of, walk

MARK = "ops-pipelines:place"
"""Key of the mark: a hash in a logical database that says for whom it was filled, or what it was kept of."""
_MARK = MARK.encode()
KINDS = ("string", "list", "set", "zset", "hash", "stream")
"""Types of values; any other is a module's."""


class Filled(NamedTuple):
    """Keys of one logical database."""

    keys: int
    expiring: int


class Stored(NamedTuple):
    """One key as a server takes it back."""

    key: bytes
    payload: bytes
    expires: int | None
    """Milliseconds since 1970."""
    idle: int | None
    frequency: int | None


@dataclass(frozen=True)
class RedisFacts:
    """A server now."""

    version: str
    cluster: bool
    databases: int
    """How many logical databases it has."""
    used: Mapping[int, Filled]
    """Those that hold keys."""
    memory: int
    """Bytes in use."""
    dataset: int
    """Bytes of that which are content."""
    limit: int
    """Bytes it may use: its own limit, or else the machine's memory; 0 where that is unknown."""


@dataclass(frozen=True)
class Content:
    """Keys of one logical database in a save."""

    keys: int
    expiring: int
    """Those of them that go by themselves at some time."""
    digest: str
    """Of names and types of the keys that stay, in any order."""


@dataclass(frozen=True)
class SaveState:
    """One save."""

    server: str
    """Version of the server that wrote it."""
    rdb: int
    """Version of the format."""
    databases: Mapping[int, Content]
    libraries: int = 0
    """Libraries of functions."""
    checksum: bool = True
    """Whether the server computed a checksum of it."""
    memory: int = 0
    """Bytes that its content took in the server."""

    @property
    def keys(self) -> int:
        """Keys of all databases."""
        return sum(one.keys for one in self.databases.values())

    def to_facts(self) -> dict[str, Any]:
        """As a part's facts."""
        databases = {
            str(number): {"keys": one.keys, "expiring": one.expiring, "digest": one.digest}
            for number, one in sorted(self.databases.items())
        }
        return {
            "engine": "redis", "server": self.server, "rdb": self.rdb, "databases": databases,
            "libraries": self.libraries, "checksum": self.checksum, "memory": self.memory, "rows": self.keys,
        }  # fmt: skip


def state_from_facts(facts: Mapping[str, Any]) -> SaveState:
    """The state that a part's facts hold. Raises ValueError where they hold none."""
    try:
        if facts["engine"] != "redis":
            raise ValueError(f"the facts are those of {facts['engine']}")
        databases = {int(number): Content(**one) for number, one in facts["databases"].items()}
        return SaveState(facts["server"], facts["rdb"], databases, facts["libraries"], facts["checksum"],
                         facts["memory"])  # fmt: skip
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"the facts are not those of a Redis save: {error}") from error


def read_save(content: Buffer, only: int | None, memory: int) -> SaveState:
    """Walk a whole save and say what it holds, of one logical database or (None) of all.

    A logical database with a mark is what a restore filled or kept: no part of what is live.
    Raises NotAnRdb where it is not whole, or holds what cannot be put back."""
    summed = checked(content)
    server, libraries = "", 0
    found: dict[int, _Tally] = {}
    marked: set[int] = set()
    for item in walk(content):
        match item:
            case Key(kind="hash") if only is None and item.key == _MARK:
                marked.add(item.database)
            case Auxiliary(name=b"redis-ver" | b"valkey-ver"):
                server = item.value.decode("ascii", "replace")
            case Library():
                libraries += 1
            case Key() if only is None or item.database == only:
                found.setdefault(item.database, _Tally()).add(item)
            case _:
                pass
    databases = {number: tally.content() for number, tally in found.items() if number not in marked}
    return SaveState(server, version_of(content), databases, libraries, summed, memory)


class _Tally:
    def __init__(self) -> None:
        self.keys = self.expiring = self.sum = 0

    def add(self, key: Key) -> None:
        self.keys += 1
        if key.expires is None:
            self.sum += _hash(key.key, key.kind)
        else:
            self.expiring += 1

    def content(self) -> Content:
        return Content(self.keys, self.expiring, _as_digest(self.sum))


def digest_of(keys: Iterable[tuple[bytes, str]]) -> str:
    """Digest of keys with their types, in any order."""
    return _as_digest(sum(_hash(key, kind) for key, kind in keys))


def _hash(key: bytes, kind: str) -> int:
    kind = kind if kind in KINDS else "module"
    return int.from_bytes(hashlib.sha256(kind.encode() + b"\0" + key).digest(), "big")


def _as_digest(total: int) -> str:
    return f"{total % (1 << 256):064x}"


def without_mark(content: Content) -> Content:
    """A logical database as it is without its mark, which the first version counted as a key of it."""
    total = (int(content.digest, 16) - _hash(_MARK, "hash")) % (1 << 256)
    return Content(content.keys - 1, content.expiring, _as_digest(total))


def content_problem(wanted: Content, keys: int, expiring: int, digest: str) -> str | None:
    """How a filled logical database differs from the save, in words; None where it does not.

    Keys that were to go by themselves may have gone since."""
    staying = wanted.keys - wanted.expiring
    if keys - expiring != staying:
        return f"holds {keys - expiring} keys that stay instead of {staying}"
    if expiring > wanted.expiring:
        return f"holds {expiring} keys that expire; there were {wanted.expiring}"
    if digest != wanted.digest:
        return "holds keys of other names or types than the save"
    return None
