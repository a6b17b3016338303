"""Traffic that stays, goes back or is watched: each row flips one fact of a watch that goes well."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ops_pipelines.policy.bluegreen import Look, Rule, judge, revision_note, rows
from ops_pipelines.policy.bluegreen import Watched as Seen

MOVED = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)
RULE = Rule(watch=300, ratio=0.01, requests=100, unknown_for=15)


def look(seconds: float, requests: float | None, errors: float | None, **more: object) -> Look:
    return replace(Look(MOVED + timedelta(seconds=seconds), requests, errors), **more)  # type: ignore[arg-type]


GONE = look(295, None, None, reason="no series matches")
CASES = {
    "all is well at the end": ((look(150, 400, 0), look(300, 1000, 3)), 300, RULE, "promote"),
    "as many errors as may be": ((look(300, 1000, 10),), 300, RULE, "promote"),
    "one error more": ((look(300, 1000, 11),), 300, RULE, "roll back"),
    "the watch is not over": ((look(299, 1000, 3),), 299, RULE, "hold"),
    "too many errors early": ((look(10, 1000, 11),), 10, RULE, "roll back"),
    "an error among few requests": ((look(10, 5, 1),), 10, RULE, "hold"),
    "more errors than the fewest requests allow": ((look(10, 5, 2),), 10, RULE, "roll back"),
    "just enough requests": ((look(300, 100, 0),), 300, RULE, "promote"),
    "one request too few": ((look(300, 99, 0),), 300, RULE, "roll back"),
    "nobody asked": ((look(300, 0, 0),), 300, RULE, "roll back"),
    "no reading yet": ((), 10, RULE, "hold"),
    "no reading for too long": ((), 16, RULE, "roll back"),
    "unknown for a moment": ((look(290, 900, 0), GONE), 296, RULE, "hold"),
    "unknown for too long": ((look(270, 900, 0), GONE), 296, RULE, "roll back"),
    "unknown at the end": ((look(299, 900, 0), look(300, None, None)), 300, RULE, "roll back"),
    "unknown from the start": ((GONE,), 296, RULE, "roll back"),
    "known again": ((look(270, 900, 0), GONE, look(300, 1000, 0)), 300, RULE, "promote"),
    "no patience with unknown": ((look(290, 900, 0), GONE), 296, replace(RULE, unknown_for=0), "roll back"),
    "the last reading is old": ((look(280, 900, 0),), 300, RULE, "roll back"),
    "errors are unknown": ((look(300, 1000, None),), 300, RULE, "roll back"),
    "requests are unknown": ((look(300, None, 0),), 300, RULE, "roll back"),
    "not a number": ((look(300, float("nan"), 0),), 300, RULE, "roll back"),
    "more errors than requests": ((look(300, 1000, 1001),), 300, RULE, "roll back"),
    "requests went back": ((look(200, 2000, 0), look(300, 1000, 0)), 300, RULE, "roll back"),
    "errors went back": ((look(200, 900, 5), look(300, 1000, 0)), 300, RULE, "roll back"),
    "a container fell over": ((look(10, 1000, 0, well=False, reason="app-1 exited"),), 10, RULE, "roll back"),
    "whether it is well is unknown": ((look(300, 1000, 0, well=None),), 300, RULE, "roll back"),
}


@pytest.mark.parametrize(("looks", "seconds", "rule", "verdict"), CASES.values(), ids=CASES)
def test_judge(looks: tuple[Look, ...], seconds: float, rule: Rule, verdict: str) -> None:
    found = judge(rule, MOVED, looks, MOVED + timedelta(seconds=seconds))
    assert found.verdict == verdict, found.reason
    assert found.reason


def test_a_revision_says_what_was_seen() -> None:
    looks = (look(300, 1000, 3),)
    seen = Seen("rag", looks, judge(RULE, MOVED, looks, looks[0].at))
    assert revision_note("deploy", [seen]) == (
        "deploy, blue-green (rag: 3 of 1000 requests failed in 300 s; 1.00% may)"
    )
    assert rows([seen])[0]["errors"] == 3
