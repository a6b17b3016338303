"""An RDB file, walked without being understood: where each key's value begins and ends.

The bytes of a value are what RESTORE takes, with a type before and a version and a checksum behind. So
a save goes back into any server that reads its version, key by key, and nothing is decoded. Format: src/rdb.h and
src/rdb.c of Redis 7.0 to 7.4. What it does not know it refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from mmap import mmap

from ops_pipelines.policy.crc64 import crc64

_BLOCK = 8 << 20

Buffer = bytes | mmap


class NotAnRdb(ValueError):
    """The content is no whole RDB file, or holds what is not known here."""


@dataclass(frozen=True)
class Key:
    """One key of a save."""

    database: int
    key: bytes
    type: int
    value: tuple[int, int]
    """Where its value begins and ends."""
    expires: int | None = None
    """When it goes, in milliseconds since 1970."""
    idle: int | None = None
    """Seconds since it was last used (LRU)."""
    frequency: int | None = None
    """How often it is used (LFU)."""

    @property
    def kind(self) -> str:
        """What TYPE calls it; `module` for any module's."""
        return _KINDS[self.type]


@dataclass(frozen=True)
class Library:
    """Code of functions."""

    code: bytes


@dataclass(frozen=True)
class Auxiliary:
    """What the server says of itself (`redis-ver`, `ctime`)."""

    name: bytes
    value: bytes


Item = Key | Library | Auxiliary

_KINDS = {
    0: "string", 1: "list", 2: "set", 3: "zset", 4: "hash", 5: "zset", 7: "module", 9: "hash", 10: "list",
    11: "set", 12: "zset", 13: "hash", 14: "list", 15: "stream", 16: "hash", 17: "zset", 18: "list", 19: "stream",
    20: "set", 21: "stream", 24: "hash", 25: "hash",
}  # fmt: skip


def version_of(content: Buffer) -> int:
    """Version of the format. Raises NotAnRdb."""
    head = bytes(content[:9])
    if head[:5] != b"REDIS" or not head[5:].isdigit() or len(head) < 9:
        raise NotAnRdb("it does not begin as an RDB file does")
    return int(head[5:])


def checked(content: Buffer) -> bool:
    """Whether the checksum at the end was computed by the server and is right; False where the server wrote none.

    Raises NotAnRdb where it is wrong."""
    version_of(content)
    kept = int.from_bytes(content[-8:], "little")
    if kept == 0:
        return False
    crc = 0
    for start in range(0, len(content) - 8, _BLOCK):
        crc = crc64(content[start : min(start + _BLOCK, len(content) - 8)], crc)
    if crc != kept:
        raise NotAnRdb(f"its checksum is {crc:016x}, and it was written with {kept:016x}")
    return True


def payload(content: Buffer, key: Key) -> bytes:
    """The value as RESTORE takes it."""
    start, end = key.value
    body = b"".join((bytes([key.type]), content[start:end], version_of(content).to_bytes(2, "little")))
    return body + crc64(body).to_bytes(8, "little")


def walk(content: Buffer) -> Iterator[Item]:
    """Everything in the file, in its order, to its end. Raises NotAnRdb."""
    version_of(content)
    return _Walk(content).items()


@dataclass
class _Walk:
    content: Buffer
    at: int = 9
    database: int = 0
    waiting: dict[str, int] = field(default_factory=dict)
    """What was said of the key that comes next."""

    def items(self) -> Iterator[Item]:
        try:
            while (code := self.byte()) != 255:
                if (item := self.item(code)) is not None:
                    yield item
        except IndexError:
            raise NotAnRdb("it is cut off") from None
        if self.at + 8 != len(self.content):
            raise NotAnRdb("its end is not where it says")

    def item(self, code: int) -> Item | None:
        match code:
            case 254:
                self.database = self.length()
            case 253:
                self.waiting["expires"] = 1000 * self.number(4)
            case 252:
                self.waiting["expires"] = self.number(8)
            case 249:
                self.waiting["frequency"] = self.byte()
            case 248:
                self.waiting["idle"] = self.length()
            case 251:
                self.lengths(2)
            case 244:
                self.lengths(3)
            case 250:
                return Auxiliary(self.text(), self.text())
            case 247:
                self.module()
            case 245:
                return Library(self.text())
            case _:
                return self.key(code)
        return None

    def key(self, kind: int) -> Key:
        skip = _SKIPS.get(kind)
        if skip is None:
            raise NotAnRdb(f"it holds a value of type {kind}, which this version does not know")
        name = self.text()
        start = self.at
        skip(self)
        if self.at > len(self.content):
            raise IndexError
        waiting, self.waiting = self.waiting, {}
        return Key(self.database, name, kind, (start, self.at), **waiting)

    # --- the grains ---

    def byte(self) -> int:
        value = self.content[self.at]
        self.at += 1
        return value

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def take(self, size: int) -> bytes:
        if self.at + size > len(self.content):
            raise IndexError
        start, self.at = self.at, self.at + size
        return bytes(self.content[start : self.at])

    def length(self) -> int:
        length, encoded = self.length_or_encoding()
        if encoded:
            raise NotAnRdb("a length is none")
        return length

    def lengths(self, count: int) -> None:
        for _ in range(count):
            self.length()

    def length_or_encoding(self) -> tuple[int, bool]:
        first = self.byte()
        match first >> 6:
            case 0:
                return first, False
            case 1:
                return (first & 63) << 8 | self.byte(), False
            case 3:
                return first & 63, True
        if first not in (0x80, 0x81):
            raise NotAnRdb("a length is none")
        return int.from_bytes(self.take(4 if first == 0x80 else 8), "big"), False

    def string(self) -> None:
        """Pass over a string: plain, an integer, or compressed."""
        size, encoded = self.length_or_encoding()
        if encoded and size == 3:
            size = self.length()
            self.length()
        elif encoded:
            if size > 3:
                raise NotAnRdb("a string is in an encoding that this version does not know")
            size = 1 << size
        self.at += size

    def strings(self, count: int) -> None:
        for _ in range(count):
            self.string()

    def text(self) -> bytes:
        """A string, decoded."""
        size, encoded = self.length_or_encoding()
        if not encoded:
            return self.take(size)
        if size < 3:
            return str(int.from_bytes(self.take(1 << size), "little", signed=True)).encode()
        if size > 3:
            raise NotAnRdb("a string is in an encoding that this version does not know")
        packed, whole = self.length(), self.length()
        return _unpacked(self.take(packed), whole)

    # --- values ---

    def many(self, each: int) -> None:
        self.strings(each * self.length())

    def scored(self) -> None:
        for _ in range(self.length()):
            self.string()
            size = self.byte()
            self.at += size if size < 253 else 0

    def scored_in_binary(self) -> None:
        for _ in range(self.length()):
            self.string()
            self.at += 8

    def nodes(self) -> None:
        for _ in range(self.length()):
            self.length()
            self.string()

    def module(self) -> None:
        self.length()
        while (code := self.length()) != 0:
            match code:
                case 1 | 2:
                    self.length()
                case 3:
                    self.at += 4
                case 4:
                    self.at += 8
                case 5:
                    self.string()
                case _:
                    raise NotAnRdb("a module's value is not as it should be")

    def fields_with_expiry(self) -> None:
        self.at += 8
        for _ in range(self.length()):
            self.length()
            self.strings(2)

    def packed_fields_with_expiry(self) -> None:
        self.at += 8
        self.string()

    def stream(self, newer: int) -> None:
        """A stream of RDB version 9 (`newer` 0), 10 (1: more counters) or 11 (2: times of consumers)."""
        self.strings(2 * self.length())
        self.lengths(3 + (5 if newer else 0))
        for _ in range(self.length()):
            self.string()
            self.lengths(2 + (1 if newer else 0))
            for _ in range(self.length()):
                self.at += 24
                self.length()
            for _ in range(self.length()):
                self.string()
                self.at += 16 if newer > 1 else 8
                self.take(16 * self.length())


_SKIPS: dict[int, Callable[[_Walk], None]] = {
    **dict.fromkeys((0, 9, 10, 11, 12, 13, 16, 17, 20), _Walk.string),
    **dict.fromkeys((1, 2, 14), lambda walk: walk.many(1)),
    3: _Walk.scored,
    4: lambda walk: walk.many(2),
    5: _Walk.scored_in_binary,
    7: _Walk.module,
    15: lambda walk: walk.stream(0),
    18: _Walk.nodes,
    19: lambda walk: walk.stream(1),
    21: lambda walk: walk.stream(2),
    24: _Walk.fields_with_expiry,
    25: _Walk.packed_fields_with_expiry,
}


def _unpacked(packed: bytes, size: int) -> bytes:
    """What LZF compressed (liblzf's format, as src/lzf_d.c reads it)."""
    out = bytearray()
    at = 0
    while at < len(packed):
        control = packed[at]
        at += 1
        if control < 32:
            out += packed[at : at + control + 1]
            at += control + 1
            continue
        length = control >> 5
        if length == 7:
            length += packed[at]
            at += 1
        back = ((control & 31) << 8 | packed[at]) + 1
        at += 1
        start = len(out) - back
        if start < 0:
            raise NotAnRdb("a compressed string cannot be read")
        for number in range(length + 2):
            out.append(out[start + number])
        if len(out) > size:
            raise NotAnRdb("a compressed string is longer than it says")
    if len(out) != size:
        raise NotAnRdb("a compressed string is shorter than it says")
    return bytes(out)
