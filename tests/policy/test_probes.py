"""Answers of a database: how they are kept, and what counts as the same one."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from ops_pipelines.policy.probes import AnswerTooLarge, compared, kept


def test_values_are_kept_as_json() -> None:
    found = kept({"q": "select"}, {"q": [(1, None, "x", True, Decimal("1.50"), date(2026, 1, 2), 0.5)]})
    assert found == {"q": {"sql": "select", "answer": [[1, None, "x", True, "1.50", "2026-01-02", "0.5"]]}}


def test_an_answer_that_did_not_hold_still_is_none() -> None:
    assert kept({"q": "select"}, {"q": None}) == {"q": {"sql": "select", "answer": None}}


@pytest.mark.parametrize("rows", [[(1,)] * 101, [("x" * 20_000,)]])
def test_a_large_answer_is_refused(rows: Any) -> None:
    with pytest.raises(AnswerTooLarge, match="the probe q brings more than"):
        kept({"q": "select"}, {"q": rows})


@pytest.mark.parametrize(
    ("answer", "found", "good"),
    [
        ([[1, "1.50"]], [(1, Decimal("1.50"))], True), ([], [], True), ([[1]], [(2,)], False), ([[1]], [], False),
        ([[1]], [("1",)], False), ([[1], [2]], [(2,), (1,)], False), (None, [(1,)], None),
    ],
)  # fmt: skip
def test_answers_are_compared(answer: Any, found: Any, good: bool | None) -> None:
    finding = compared("database/x", "q", answer, found)
    assert finding.ok is good
    assert finding.subject == "database/x: probe q"
    assert good is True or finding.remedy
