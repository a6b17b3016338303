"""Texts cut into pieces."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_pipelines.policy.chunking import chunk, pieces

WORDS = st.lists(st.text("abc.é\n ", min_size=1, max_size=80), max_size=60).map("\n\n".join)


def words(text: str) -> list[str]:
    return text.split()


@given(WORDS, st.integers(20, 200), st.integers(0, 9))
def test_pieces_fit_and_hold_every_word_in_order(text: str, size: int, overlap: int) -> None:
    cut = pieces(text, size=size, overlap=overlap)
    assert all(0 < len(piece) <= size for piece in cut)
    assert cut == pieces(text, size=size, overlap=overlap)
    assert set("".join(words(text))) == set("".join(words("".join(cut))))
    if max((len(word) for word in words(text)), default=0) <= (size - overlap - 2) // 2:
        rest = iter(word for piece in cut for word in words(piece))
        assert all(word in rest for word in words(text))


def test_paragraphs_stay_whole_where_they_fit() -> None:
    paragraphs = [f"paragraph {i} " + "x" * 80 for i in range(30)]
    cut = pieces("\n\n".join(paragraphs), size=1000, overlap=200)
    assert all(any(paragraph in piece for piece in cut) for paragraph in paragraphs)
    assert 3 <= len(cut) <= 5


def test_a_piece_begins_with_the_end_of_the_one_before() -> None:
    text = "\n\n".join(f"number{i} " * 12 for i in range(40))
    cut = pieces(text, size=1000, overlap=200)
    for before, after in pairwise(cut):
        shared = next(n for n in range(min(len(before), 202), 0, -1) if before.endswith(after[:n].strip()))
        assert 100 < shared <= 200


def test_long_words_and_empty_texts() -> None:
    assert [len(piece) for piece in pieces("x" * 2500, size=1000, overlap=0)] == [1000, 1000, 500]
    assert pieces(" \n\n \n") == ()
    assert pieces("a\r\n\r\nb\0") == ("a\n\nb",)
    with pytest.raises(ValueError, match="overlap"):
        pieces("a", size=100, overlap=50)


def test_keys_hang_on_source_position_and_text() -> None:
    text = "one\n\n" + "two " * 30
    first = chunk("a.md", text, size=100, overlap=20)
    assert [piece.position for piece in first] == list(range(len(first)))
    assert len({piece.key for piece in first}) == len(first)
    assert chunk("a.md", text, size=100, overlap=20) == first
    assert not {p.key for p in chunk("b.md", text, size=100, overlap=20)} & {p.key for p in first}
    assert chunk("a.md", "One" + text[3:], size=100, overlap=20)[0].key != first[0].key
    assert all(len(piece.key) == 32 for piece in first)
