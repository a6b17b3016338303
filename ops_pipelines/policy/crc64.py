"""CRC-64/REDIS, the checksum at the end of an RDB file and of what DUMP gives.

Polynomial 0xad93d23594c935a9 (Jones), reflected, begun at 0 and not inverted; "123456789" gives
e9c6d914c4b8d9ca (src/crc64.c of Redis 7.0). Begun at 0, it is linear: pieces are computed side by side, and put
together by a matrix that stands for the zero bytes between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

_REFLECTED = 0x95AC9329AC4BC9B5
_LOW = np.uint64(0xFF)
_BLOCKS = ((16384, 512), (256, 64))
"""(pieces, bytes of each) that are computed side by side; what is smaller goes byte by byte."""

Words = NDArray[np.uint64]
Matrix = tuple[int, ...]
"""Column i is what bit i becomes."""


def crc64(content: bytes | memoryview, crc: int = 0) -> int:
    """The checksum of `content`, which goes on from `crc`, that of what stands before it."""
    view = memoryview(content).cast("B")
    for count, length in _BLOCKS:
        block = count * length
        while len(view) >= block:
            pieces = np.frombuffer(view[:block], dtype="<u8").reshape(count, length // 8)
            crc = _apply(_zeros(block), crc) ^ _joined(_side_by_side(pieces), length)
            view = view[block:]
    table = _tables()[0]
    for byte in view:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc


def _side_by_side(pieces: Words) -> Words:
    """Checksum of each row, eight bytes a step."""
    tables = _arrays()
    crc = np.zeros(len(pieces), dtype=np.uint64)
    for column in np.ascontiguousarray(pieces.T):
        word = crc ^ column
        crc = tables[7][word & _LOW]
        for number in range(1, 8):
            crc ^= tables[7 - number][(word >> np.uint64(8 * number)) & _LOW]
    return crc


def _joined(crcs: Words, length: int) -> int:
    """The checksum of all pieces in their order, each of `length` bytes; their number is a power of two."""
    while len(crcs) > 1:
        left, joined = crcs[0::2], crcs[1::2].copy()
        for number, table in enumerate(_zeros_by_byte(length)):
            joined ^= table[(left >> np.uint64(8 * number)) & _LOW]
        crcs, length = joined, 2 * length
    return int(crcs[0])


@cache
def _tables() -> tuple[tuple[int, ...], ...]:
    """Table k: what a byte becomes with k zero bytes behind it."""
    first = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (_REFLECTED if crc & 1 else 0)
        first.append(crc)
    tables = [first]
    for _ in range(7):
        tables.append([first[crc & 0xFF] ^ (crc >> 8) for crc in tables[-1]])
    return tuple(tuple(table) for table in tables)


@cache
def _arrays() -> tuple[Words, ...]:
    return tuple(np.array(table, dtype=np.uint64) for table in _tables())


@cache
def _zeros(length: int) -> Matrix:
    """What `length` zero bytes do to a checksum."""
    if length == 1:
        table = _tables()[0]
        return tuple(table[(1 << bit) & 0xFF] ^ ((1 << bit) >> 8) for bit in range(64))
    half = _zeros(length // 2)
    doubled = _times(half, half)
    return _times(_zeros(1), doubled) if length % 2 else doubled


@cache
def _zeros_by_byte(length: int) -> tuple[Words, ...]:
    """The same as tables: one for each byte of the checksum."""
    matrix = _zeros(length)
    return tuple(
        np.array([_apply(matrix, byte << (8 * number)) for byte in range(256)], dtype=np.uint64)
        for number in range(8)
    )


def _times(after: Matrix, before: Sequence[int]) -> Matrix:
    return tuple(_apply(after, column) for column in before)


def _apply(matrix: Matrix, crc: int) -> int:
    result = 0
    for column in matrix:
        if not crc:
            break
        if crc & 1:
            result ^= column
        crc >>= 1
    return result
