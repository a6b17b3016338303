"""Databases compared, and the names of those beside them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ops_pipelines.policy.databases import (
    DatabaseState,
    Grant,
    Setting,
    before_name,
    differences,
    from_facts,
    staged_name,
    word_of,
)

STATE = DatabaseState(
    server=150014,
    tables={"public.users": 3, "public.keys": 0},
    extensions={"plpgsql": "1.0", "pg_trgm": "1.6"},
    roles=("litellm",),
    owner="litellm",
    encoding="UTF8",
    collate="C",
    ctype="C",
    settings=(Setting("search_path", "a, b"),),
    grants=(Grant(None, "CONNECT"),),
)

CASES = [
    ("the same", {}, []),
    ("a row less", {"tables": {"public.users": 2, "public.keys": 0}}, ["has 2 rows instead of 3"]),
    ("a row too many", {"tables": {"public.users": 3, "public.keys": 1}}, ["has 1 rows instead of 0"]),
    ("a table missing", {"tables": {"public.users": 3}}, ["is missing"]),
    ("a table more", {"tables": {**STATE.tables, "public.more": 0}}, ["is not in the snapshot"]),
    ("an extension missing", {"extensions": {"plpgsql": "1.0"}}, ["is missing"]),
    ("another version", {"extensions": {"plpgsql": "1.0", "pg_trgm": "1.7"}}, ["is version 1.7; it was 1.6"]),
    ("a newer server", {"server": 170001}, []),
]


@pytest.mark.parametrize(("changes", "words"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_differences(changes: dict[str, object], words: list[str]) -> None:
    found = differences(STATE, replace(STATE, **changes))  # type: ignore[arg-type]
    assert [one.message for one in found] == words
    assert all(one.severe == ("version" not in one.message) for one in found)


def test_facts_go_through_json() -> None:
    assert from_facts(json.loads(json.dumps(STATE.to_facts()))) == STATE
    assert STATE.to_facts()["rows"] == 3
    with pytest.raises(ValueError, match="tables"):
        from_facts({"server": 1, "grants": None})


def test_names_beside() -> None:
    assert staged_name("litellm", "abc-1") == "litellm__restore_abc-1"
    assert before_name("litellm", "abc-1") == "litellm__before_abc-1"
    assert word_of("litellm", "litellm__restore_abc-1") == "abc-1"
    long = staged_name("x" * 63, "abcdef")
    assert len(long) == 63
    assert word_of("x" * 63, long) == "abcdef"


@pytest.mark.parametrize(
    "place", ["litellm", "litellm__before_abc", "other__restore_abc", "litellm__restore_"]
)
def test_other_databases_are_no_places(place: str) -> None:
    assert word_of("litellm", place) is None


@pytest.mark.parametrize("word", ["", "a/b", "A", "-a", "a" * 32, 'a"b', "a b"])
def test_words_that_are_none(word: str) -> None:
    with pytest.raises(ValueError, match="names no place"):
        staged_name("litellm", word)
