"""Readings, decisions, and what a decision may still do when it is carried out."""

# ruff: noqa: ARG002 - fakes take what the Protocol hands them, used or not

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ops_pipelines.engines.ports import MetricsSource
from ops_pipelines.engines.scale import apply_decision, decision_facts, explain, take_readings
from ops_pipelines.errors import LeaseLost, StaleDecision
from ops_pipelines.policy.readings import Reading
from ops_pipelines.stack.operations import Scaling
from tests.engines.snapshot_kit import FreeFence

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
RULE = Scaling.model_validate(
    {
        "component": "web", "maximum": 9, "source": "http://one", "step_up": 2,
        "signals": {
            "gpu": {"query": "g", "target": 80}, "queue": {"query": "q", "target": 10, "source": "http://two"},
        },
    }
)  # fmt: skip


class Source:
    """Answers by query, each with its value and age in seconds."""

    def __init__(self, answers: dict[str, tuple[float | None, float]]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def __call__(self, address: str) -> MetricsSource:
        self.asked.append(address)
        return self

    def read(self, signal: str, query: str, aggregate: str, stale_after: float, now: datetime) -> Reading:
        value, age = self.answers[query]
        return Reading(signal, value, now - timedelta(seconds=age), "" if value is not None else "down")


def test_each_signal_is_read_at_its_own_source() -> None:
    source = Source({"g": (40.0, 0), "q": (5.0, 0)})
    readings = take_readings(RULE, source, now=NOW)
    assert source.asked == ["http://one", "http://two"]
    assert [(one.signal, one.value) for one in readings] == [("gpu", 40.0), ("queue", 5.0)]


@pytest.mark.parametrize(("age", "value"), [(120, 40.0), (121, None)])
def test_an_old_reading_is_unknown(age: float, value: float | None) -> None:
    readings = take_readings(RULE, Source({"g": (40.0, age), "q": (5.0, 0)}), now=NOW)
    assert readings[0].value == value


@pytest.mark.parametrize(
    ("gpu", "current", "wanted"), [(160.0, 2, 4), (8.0, 2, 1), (None, 2, 2), (160.0, None, None)]
)
def test_explained(gpu: float | None, current: int | None, wanted: int | None) -> None:
    source = Source({"g": (gpu, 0), "q": (1.0, 0)})
    decision = explain(RULE, source, current=current, changed=None, now=NOW)
    assert (decision.wanted if decision else None) == wanted
    if decision:
        facts: Any = decision_facts(decision)
        assert [one["value"] for one in facts["signals"]] == [gpu, 1.0]
        assert facts["reason"]


@pytest.mark.parametrize(
    ("age", "current", "said"),
    [
        (0, 2, ""), (100, 2, ""), (101, 2, "101 s old"), (0, 3, "there are 3 now"), (0, None, "an unknown number"),
        (-59, 2, ""), (-61, 2, "yet to come"),
    ],
)  # fmt: skip
def test_a_decision_holds_for_what_it_was_made_on(age: float, current: int | None, said: str) -> None:
    decision = explain(RULE, Source({"g": (160.0, 0), "q": (1.0, 0)}), current=2, changed=None, now=NOW)
    assert decision is not None
    done: list[tuple[str, int]] = []

    def carry_out() -> None:
        apply_decision(
            decision, current=current, now=NOW + timedelta(seconds=age), good_for=100, fence=FreeFence(),
            scale=lambda component, count: done.append((component, count)),
        )  # fmt: skip

    if said:
        with pytest.raises(StaleDecision, match=said) as error:
            carry_out()
        assert error.value.remedy
        assert done == []
    else:
        carry_out()
        assert done == [("web", 4)]


def test_nothing_is_scaled_without_the_lease() -> None:
    decision = explain(RULE, Source({"g": (160.0, 0), "q": (1.0, 0)}), current=2, changed=None, now=NOW)
    assert decision is not None
    with pytest.raises(LeaseLost):
        apply_decision(
            decision, current=2, now=NOW, good_for=100, fence=FreeFence(lost_at=1),
            scale=lambda component, count: pytest.fail("it was scaled"),
        )  # fmt: skip
