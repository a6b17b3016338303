"""The scaling policy, as a table: each row flips one fact of a base case."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ops_pipelines.policy.readings import Reading, unknown
from ops_pipelines.policy.scaling import decide
from ops_pipelines.stack.operations import Scaling

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


def scaling(**changes: Any) -> Scaling:
    signals = {
        "cpu": {"query": "cpu", "target": 70, "weight": 0.2},
        "gpu": {"query": "gpu", "target": 80, "weight": 0.4},
        "queue": {"query": "queue", "target": 50, "weight": 0.2},
        "latency": {"query": "latency", "target": 1000, "weight": 0.2},
    }
    facts: dict[str, Any] = {
        "component": "rag", "minimum": 3, "maximum": 50, "source": "http://x/metrics", "signals": signals,
        "step_up": 2.0, "step_down": 1.0,
    }  # fmt: skip
    return Scaling.model_validate({**facts, **changes})


def readings(**values: float | None) -> list[Reading]:
    base: dict[str, float | None] = {"cpu": 70, "gpu": 80, "queue": 50, "latency": 1000, **values}
    return [
        unknown(name, NOW, "the server is down") if value is None else Reading(name, value, NOW)
        for name, value in base.items()
    ]


IDLE = {"cpu": 7.0, "gpu": 8.0, "queue": 5.0, "latency": 100.0}


@pytest.mark.parametrize(
    ("case", "values", "changes", "current", "wanted"),
    [
        ("all at target", {}, {}, 10, 10),
        ("within tolerance", {"gpu": 86.0}, {}, 10, 10),
        ("one signal over", {"gpu": 100.0}, {}, 10, 13),
        ("the guide's mask: gpu saturated, rest idle", {**IDLE, "gpu": 100.0}, {}, 10, 13),
        ("all idle", IDLE, {}, 10, 3),
        ("all idle, small step", IDLE, {"step_down": 0.3}, 10, 7),
        ("step down is at least one", IDLE, {"step_down": 0.01}, 10, 9),
        ("step up is bounded", {"gpu": 800.0}, {"step_up": 0.5}, 10, 15),
        ("step up is at least one", {"gpu": 800.0}, {"step_up": 0.01}, 10, 11),
        ("maximum", {"gpu": 800.0}, {"maximum": 12}, 10, 12),
        ("below the minimum is raised", {}, {"minimum": 12}, 10, 12),
        ("one unknown holds a scale down", {**IDLE, "queue": None}, {}, 10, 10),
        ("one unknown does not hold a scale up", {"gpu": 100.0, "queue": None}, {}, 10, 13),
        ("nothing known holds", dict.fromkeys(IDLE), {}, 10, 10),
        ("a maximum that was lowered removes", {}, {"maximum": 8}, 10, 8),
        ("but not on an unknown reading", {"queue": None}, {"maximum": 8}, 10, 10),
        ("nor by more than a step", {}, {"maximum": 3, "step_down": 0.3}, 10, 7),
        ("infinite is unknown", {**IDLE, "queue": float("inf")}, {}, 10, 10),
        ("a negative load is unknown", {**IDLE, "queue": -1.0}, {}, 10, 10),
        ("NaN is unknown", {**IDLE, "queue": float("nan")}, {}, 10, 10),
        ("zero is a reading", {**IDLE, "queue": 0.0}, {}, 10, 3),
        ("from zero, load asks for some", {"gpu": 160.0}, {"minimum": 0}, 0, 1),
        ("weighted: the mask as the guide has it", {"cpu": 10.0, "gpu": 100.0, "queue": 0.0, "latency": 500.0},
         {"policy": "weighted"}, 10, 7),
        ("weighted: truncation keeps three at three", {"cpu": 93.0, "gpu": 106.0, "queue": 66.0, "latency": 1330.0},
         {"policy": "weighted"}, 3, 3),
        ("weighted: unknown holds", {**IDLE, "cpu": None}, {"policy": "weighted"}, 10, 10),
    ],
)  # fmt: skip
def test_decision(
    case: str, values: dict[str, float | None], changes: dict[str, Any], current: int, wanted: int
) -> None:
    decision = decide(scaling(**changes), current=current, readings=readings(**values), changed=None, now=NOW)
    assert decision.wanted == wanted, (case, decision)
    assert len(decision.opinions) == len(decision.readings) == 4
    assert decision.reason


@pytest.mark.parametrize(("ago", "wanted"), [(299, 10), (301, 3)])
def test_cooldown_holds_a_scale_down_only(ago: float, wanted: int) -> None:
    changed = NOW - timedelta(seconds=ago)
    assert decide(scaling(), current=10, readings=readings(**IDLE), changed=changed, now=NOW).wanted == wanted
    up = decide(scaling(), current=10, readings=readings(gpu=100.0), changed=changed, now=NOW)
    assert up.wanted == 13


@pytest.mark.parametrize(
    ("free", "wanted", "bound"),
    [(2000.0, 13, False), (500.0, 10, True), (None, 10, True), (float("nan"), 10, True)],
)
def test_a_floor_holds_a_scale_up(free: float | None, wanted: int, bound: bool) -> None:
    signals = {
        "gpu": {"query": "gpu", "target": 80},
        "free": {"query": "free", "target": 1000, "floor": True},
    }
    taken = [Reading("gpu", 100.0, NOW), Reading("free", free, NOW, "" if free else "gone")]
    decision = decide(scaling(signals=signals), current=10, readings=taken, changed=None, now=NOW)
    assert decision.wanted == wanted
    assert any("floor" in why for why in decision.bounded_by) is bound


@pytest.mark.parametrize(("capacity", "wanted"), [(None, 13), (11, 11), (13, 13), (4, 10)])
def test_hardware_bounds_a_scale_up(capacity: int | None, wanted: int) -> None:
    decision = decide(
        scaling(), current=10, readings=readings(gpu=100.0), changed=None, now=NOW, capacity=capacity
    )
    assert decision.wanted == wanted


def test_a_signal_without_a_reading_is_unknown() -> None:
    decision = decide(scaling(), current=10, readings=readings(**IDLE)[:3], changed=None, now=NOW)
    assert decision.wanted == 10
    assert "latency" in decision.bounded_by[0]


@pytest.mark.parametrize(
    ("others", "wanted", "reason"),
    [
        (readings(**IDLE)[:3], 3, "under its target"),
        (readings(gpu=100.0)[:3], 13, "over its target"),
        ([], 10, "no request ended"),
    ],
)
def test_a_quiet_signal_neither_adds_nor_removes(others: list[Reading], wanted: int, reason: str) -> None:
    """A server that hangs ends no request either: by its latency alone nothing is removed."""
    taken = [*others, Reading("latency", 0.0, NOW, "no request ended", quiet=True)]
    signals = {
        one.signal: {"query": one.signal, "target": scaling().signals[one.signal].target} for one in taken
    }
    decision = decide(scaling(signals=signals), current=10, readings=taken, changed=None, now=NOW)
    assert decision.wanted == wanted
    assert reason in decision.reason
