"""Texts cut into pieces that a model can embed, on paragraph boundaries, each with a stable key."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

SIZE = 1000
"""Characters of a piece, at most."""
OVERLAP = 200
"""Characters, at most, that a piece repeats from the end of the one before."""
_PARAGRAPHS = re.compile(r"\n[ \t]*\n\s*")
_JOIN = "\n\n"


@dataclass(frozen=True)
class Chunk:
    """One piece of a source. `source` is its path inside the folder, `position` counts from 0."""

    key: str
    text: str
    source: str
    position: int


def chunk(source: str, text: str, *, size: int = SIZE, overlap: int = OVERLAP) -> tuple[Chunk, ...]:
    """The pieces of a text. A change of one paragraph changes the keys of its own pieces and, where it moves
    the positions, of those after it."""
    return tuple(
        Chunk(chunk_key(source, position, piece), piece, source, position)
        for position, piece in enumerate(pieces(text, size=size, overlap=overlap))
    )


def chunk_key(source: str, position: int, text: str) -> str:
    """32 hexadecimal digits that stay the same for the same text at the same place."""
    return hashlib.sha256("\0".join((source, str(position), text)).encode()).hexdigest()[:32]


def pieces(text: str, *, size: int = SIZE, overlap: int = OVERLAP) -> tuple[str, ...]:
    """Paragraphs gathered to at most `size` characters, each piece begun with the end of the one before.

    Longer paragraphs are cut between words, and words longer than that where they must be.
    Raises ValueError unless 0 <= overlap < size / 2: pieces would hardly advance.
    """
    if size < 1 or not 0 <= overlap < max(1, size / 2):
        raise ValueError(f"an overlap of {overlap} does not fit in pieces of {size} characters")
    room = size - overlap - len(_JOIN) if overlap else size
    found: list[str] = []
    current = ""
    for paragraph in _paragraphs(text, max(1, room)):
        joined = f"{current}{_JOIN}{paragraph}" if current else paragraph
        if current and len(joined) > size:
            found.append(current)
            tail = _tail(current, overlap)
            joined = f"{tail}{_JOIN}{paragraph}" if tail else paragraph
        current = joined
    if current:
        found.append(current)
    return tuple(found)


def _paragraphs(text: str, longest: int) -> list[str]:
    paragraphs: list[str] = []
    for paragraph in _PARAGRAPHS.split(text.replace("\r\n", "\n").replace("\0", "")):
        rest = paragraph.strip()
        while len(rest) > longest:
            cut = max(rest.rfind(mark, 0, longest + 1) for mark in (" ", "\n", "\t"))
            cut = cut if cut > longest // 2 else longest
            paragraphs.append(rest[:cut].rstrip())
            rest = rest[cut:].lstrip()
        if rest:
            paragraphs.append(rest)
    return [paragraph for paragraph in paragraphs if paragraph]


def _tail(text: str, overlap: int) -> str:
    """The last words of a text, at most `overlap` characters of them."""
    if not overlap:
        return ""
    if len(text) <= overlap:
        return text
    end = text[-overlap:]
    if text[-overlap - 1].isspace():
        return end.strip()
    words = end.split(maxsplit=1)
    return words[1].strip() if len(words) == 2 else ""
