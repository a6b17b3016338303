"""RDB files: the checksum against published values and a byte-by-byte one, the walk against files made by hand."""

from __future__ import annotations

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_pipelines.policy.crc64 import crc64
from ops_pipelines.policy.rdb import Auxiliary, Key, Library, NotAnRdb, checked, payload, walk
from ops_pipelines.policy.redis_saves import Content, content_problem, digest_of, read_save, state_from_facts


def slowly(content: bytes) -> int:
    """The checksum bit by bit, as its definition reads (polynomial 0xad93d23594c935a9, all reflected)."""
    crc = 0
    for byte in content:
        crc ^= int(f"{byte:08b}"[::-1], 2) << 56
        for _ in range(8):
            crc = ((crc << 1) ^ (0xAD93D23594C935A9 if crc >> 63 else 0)) & (2**64 - 1)
    return int(f"{crc:064b}"[::-1], 2)


def test_the_published_checksum() -> None:
    assert crc64(b"123456789") == 0xE9C6D914C4B8D9CA  # src/crc64.c, Redis 7.0
    assert slowly(b"123456789") == 0xE9C6D914C4B8D9CA


@pytest.mark.parametrize("size", [0, 1, 16383, 16384, 16385, 50_000])
def test_large_content_is_checked_as_by_the_definition(size: int) -> None:
    content = random.Random(size).randbytes(size)
    assert crc64(content) == slowly(content)


@given(st.binary(max_size=200), st.binary(max_size=40_000))
def test_it_goes_on_from_what_stands_before(first: bytes, second: bytes) -> None:
    assert crc64(second, crc64(first)) == crc64(first + second)


def test_blocks_of_megabytes_are_put_together() -> None:
    content = random.Random(1).randbytes((8 << 20) + 20_000)
    assert crc64(content) == crc64(content[(3 << 20) + 5 :], crc64(content[: (3 << 20) + 5]))


def save(*pieces: bytes, version: bytes = b"0011", checksum: bool = True) -> bytes:
    body = b"REDIS" + version + b"".join(pieces) + b"\xff"
    return body + (crc64(body) if checksum else 0).to_bytes(8, "little")


def text(content: bytes) -> bytes:
    return bytes([len(content)]) + content


IDS = b"\x01" * 16
EVERY_TYPE = {
    "plain": (0, text(b"value")),
    "number": (0, b"\xc0\x05"),
    "larger number": (0, b"\xc2\x01\x02\x03\x04"),
    "compressed": (0, b"\xc3\x03\x05\x00a\x40\x00"[:3] + b"\x00a\x20"),
    "long": (0, b"\x80\x00\x00\x01\x00" + b"x" * 256),
    "longer": (0, b"\x81" + (256).to_bytes(8, "big") + b"x" * 256),
    "middling": (0, b"\x41\x00" + b"x" * 256),
    "list": (1, b"\x02" + text(b"a") + text(b"b")),
    "set": (2, b"\x01" + text(b"a")),
    "zset": (3, b"\x03" + text(b"a") + b"\x031.5" + text(b"b") + b"\xfe" + text(b"c") + b"\xfd"),
    "hash": (4, b"\x01" + text(b"a") + text(b"b")),
    "zset2": (5, b"\x01" + text(b"a") + b"\0" * 8),
    "module": (7, b"\x05"
               + b"\x02\x07" + b"\x01\x01" + b"\x03" + b"f" * 4 + b"\x04" + b"d" * 8 + b"\x05" + text(b"s") + b"\0"),
    "intset": (11, text(b"packed")),
    "quicklist": (14, b"\x01" + text(b"packed")),
    "listpack": (16, text(b"packed")),
    "quicklist2": (18, b"\x02\x02" + text(b"packed") + b"\x01" + text(b"plain")),
    "stream 1": (15, b"\x01" + text(IDS) + text(b"lp") + b"\x01\x02\x03" + b"\x01" + text(b"group") + b"\x01\x02"
                 + b"\x01" + IDS + b"t" * 8 + b"\x01" + b"\x01" + text(b"reader") + b"t" * 8 + b"\x01" + IDS),
    "stream 2": (19, b"\0" + b"\x01\x02\x03"
                 + b"\x01\x02\x03\x04\x05" + b"\x01" + text(b"group") + b"\x01\x02\x03\0\0"),
    "stream 3": (21, b"\0" + b"\x01\x02\x03" + b"\x01\x02\x03\x04\x05" + b"\x01" + text(b"group") + b"\x01\x02\x03\0"
                 + b"\x01" + text(b"reader") + b"t" * 16 + b"\x02" + IDS + IDS),
    "fields that expire": (24, b"t" * 8 + b"\x01\x05" + text(b"a") + text(b"b")),
    "packed fields that expire": (25, b"t" * 8 + text(b"packed")),
}  # fmt: skip


@pytest.mark.parametrize("name", EVERY_TYPE)
def test_every_type_ends_where_it_ends(name: str) -> None:
    kind, value = EVERY_TYPE[name]
    content = save(bytes([kind]), text(b"key"), value, b"\x00", text(b"next"), text(b"v"))
    first, second = [item for item in walk(content) if isinstance(item, Key)]
    assert (first.key, content[slice(*first.value)]) == (b"key", value)
    assert second.key == b"next"
    given_back = payload(content, first)
    assert given_back[:-10] == bytes([kind]) + value
    assert given_back[-10:-8] == (11).to_bytes(2, "little")
    assert int.from_bytes(given_back[-8:], "little") == slowly(given_back[:-8])


def test_what_is_said_of_a_key_is_its_own() -> None:
    content = save(
        b"\xfa", text(b"redis-ver"), text(b"7.4.1"), b"\xf5", text(b"#!lua"), b"\xfe\x03\xfb\x02\x01",
        b"\xfc", (1234).to_bytes(8, "little"), b"\xf9\x07\x00", text(b"a"), text(b"1"),
        b"\xfd", (5).to_bytes(4, "little"), b"\xf8\x09\x00", text(b"b"), text(b"1"), b"\x00", text(b"c"), text(b"1"),
        b"\xf4\x01\x02\x03",
    )  # fmt: skip
    version, library, *keys = walk(content)
    assert (version, library) == (Auxiliary(b"redis-ver", b"7.4.1"), Library(b"#!lua"))
    said = [
        (one.database, one.key, one.expires, one.idle, one.frequency) for one in keys if isinstance(one, Key)
    ]
    assert said == [(3, b"a", 1234, None, 7), (3, b"b", 5000, 9, None), (3, b"c", None, None, None)]
    state = read_save(content, None, 77)
    assert (state.server, state.rdb, state.libraries, state.keys) == ("7.4.1", 11, 1, 3)
    assert state.databases[3] == Content(3, 2, digest_of([(b"c", "string")]))
    assert state_from_facts(state.to_facts()) == state
    assert read_save(content, 0, 0).databases == {}


def test_a_key_s_name_is_decompressed() -> None:
    packed = b"\x00a\xe0\x0b\x00"  # `a`, then 20 bytes from one back
    content = save(b"\x00\xc3", bytes([len(packed), 21]), packed, text(b"v"))
    (key,) = walk(content)
    assert isinstance(key, Key)
    assert key.key == b"a" * 21


@pytest.mark.parametrize(
    "content",
    [
        b"", b"REDIS", b"MySQL0011\xff" + b"\0" * 8, save(b"\x00", text(b"key"), text(b"v"))[:-9],
        save(b"\x00", b"\x0fkey"), save(b"\x16", text(b"key"), text(b"v")), save(b"\xff"),
        save(b"\x00", text(b"key"), b"\xc4\x01"), save(b"\x00\xc3\x02\x09\x20\x05", text(b"v")),
        save(b"\x00", text(b"key"), b"\x80\xff\xff\xff\xff"), save(b"\x00", text(b"key"), b"\x90x"),
        save(b"\x07", text(b"key"), b"\x05\x09"),
    ],
    ids=["nothing", "a head", "another format", "cut off", "key past the end", "unknown type", "two ends",
         "unknown encoding", "back before the start", "value past the end", "no length", "no module's"],
)  # fmt: skip
def test_what_is_no_save_is_refused(content: bytes) -> None:
    with pytest.raises(NotAnRdb):
        list(walk(content))


def test_one_bit_is_noticed() -> None:
    content = bytearray(save(b"\x00", text(b"key"), text(b"value")))
    assert checked(bytes(content))
    assert not checked(save(b"\x00", text(b"key"), text(b"value"), checksum=False)), (
        "the server computed none"
    )
    content[16] ^= 1
    with pytest.raises(NotAnRdb, match="checksum"):
        checked(bytes(content))


@given(st.binary(max_size=60))
def test_no_content_does_worse_than_be_refused(content: bytes) -> None:
    with contextlib.suppress(NotAnRdb):
        list(walk(b"REDIS0011" + content))


WANTED = Content(5, 2, "d")


@pytest.mark.parametrize(
    ("keys", "expiring", "digest", "problem"),
    [(5, 2, "d", None), (4, 1, "d", None), (3, 0, "d", None), (4, 2, "d", "2 keys that stay instead of 3"),
     (6, 2, "d", "4 keys that stay"), (6, 3, "d", "3 keys that expire; there were 2"), (5, 2, "e", "other names")],
)  # fmt: skip
def test_what_counts_as_the_same(keys: int, expiring: int, digest: str, problem: str | None) -> None:
    found = content_problem(WANTED, keys, expiring, digest)
    assert found is None if problem is None else problem in str(found)


@pytest.mark.parametrize("facts", [{}, {"engine": "postgres"}, {"engine": "redis", "databases": {"x": {}}}])
def test_facts_that_are_no_save_s(facts: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="facts are"):
        state_from_facts(facts)
