"""Whether a model's tag has moved: how long an answer holds, and how it is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ops_pipelines.policy.model_sources import Answer, asked_as, moves, notes, settled, still_holds
from ops_pipelines.policy.models import WantedModel
from ops_pipelines.policy.plan import Finding

NOW = datetime(2026, 11, 21, 3, tzinfo=UTC)
MODEL = WantedModel("chat", "llama3:8b", "ollama", "llama3:8b")
GOOD = Finding("model llama3:8b", True, "llama3:8b is at its source what it is here")
MOVED = Finding("model llama3:8b", False, "llama3:8b has moved at its source", "pin it", "warning")
SILENT = Finding("model llama3:8b", None, "the registry does not answer", "", "warning")
HELD = "a" * 64


def answer(finding: Finding, *, hours: float = 1, held: str = HELD, model: WantedModel = MODEL) -> Answer:
    return Answer(asked_as(model), held, finding, NOW - timedelta(hours=hours))


@pytest.mark.parametrize(
    ("before", "holds"),
    [
        (answer(GOOD), True),
        (answer(MOVED), True),
        (answer(SILENT), False),
        (None, False),
        (answer(GOOD, hours=20), False),
        (answer(GOOD, held="b" * 64), False),
        (answer(GOOD, model=replace(MODEL, pin="a" * 12)), False),
        (answer(GOOD, model=replace(MODEL, reference="llama3:70b")), False),
    ],
)
def test_a_source_is_asked_once_a_day_and_whenever_something_changed(
    before: Answer | None, holds: bool
) -> None:
    assert still_holds(before, MODEL, HELD, NOW) is holds


@pytest.mark.parametrize(
    ("before", "now", "ok"),
    [
        (None, SILENT, None),
        (answer(GOOD), SILENT, None),
        (answer(MOVED), SILENT, False),
        (answer(MOVED, held="b" * 64), SILENT, None),
        (answer(MOVED), GOOD, True),
        (answer(GOOD), MOVED, False),
    ],
)
def test_a_move_that_was_seen_stays_seen_while_the_source_is_silent(
    before: Answer | None, now: Finding, ok: bool | None
) -> None:
    found = settled(before, answer(now, hours=0))
    assert found.finding.ok is ok
    again = settled(found, answer(now, hours=0))
    assert again.finding.message == found.finding.message, "said once, however long the source is silent"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"c/chat": answer(GOOD)}, []),
        ({"c/chat": answer(MOVED)}, ["has moved at its source"]),
        ({"c/chat": answer(MOVED, hours=1000)}, ["has moved at its source"]),
        ({}, ["not known whether the tag of llama3:8b has moved"]),
        ({"c/chat": answer(SILENT)}, ["not known"]),
        ({"c/chat": answer(GOOD, hours=73)}, ["not known"]),
        ({"c/chat": answer(GOOD, model=replace(MODEL, pin="c" * 12))}, ["not known"]),
    ],
)
def test_what_a_status_says(said: dict[str, Answer], words: list[str]) -> None:
    lines = notes({"c/chat": MODEL}, said, NOW, "obelisk")
    assert len(lines) == len(words)
    assert all(word in line for word, line in zip(words, lines, strict=True))


def test_many_that_are_not_known_are_one_line() -> None:
    wanted = {f"c/{number}": replace(MODEL, name=f"m{number}") for number in range(5)}
    [line] = notes(wanted, {}, NOW, "obelisk")
    assert "m0, m1, m2 and 2 more" in line
    assert "`ops-pipelines models sources obelisk`" in line


@pytest.mark.parametrize(
    ("scheme", "layout", "moving"),
    [
        ("ollama", "ollama", True),
        ("hf", "huggingface", True),
        ("hf", "directory", False),
        ("package", "ollama", False),
    ],
)
def test_which_models_have_a_source_that_moves(scheme: str, layout: str, moving: bool) -> None:
    assert moves(replace(MODEL, scheme=scheme), layout) is moving  # type: ignore[arg-type]
