"""Scaling: take readings, decide, record, and (where the mode says so) apply."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import structlog

from ops_pipelines.engines.ports import Fence, MetricsSource
from ops_pipelines.errors import StaleDecision
from ops_pipelines.policy.readings import Decision, Reading, unknown
from ops_pipelines.policy.scaling import decide
from ops_pipelines.stack.operations import Scaling

log = structlog.get_logger()

_SKEW = 60.0
"""Seconds that the clock of who decided may be ahead of ours."""


def take_readings(
    scaling: Scaling, source: Callable[[str], MetricsSource], *, now: datetime
) -> tuple[Reading, ...]:
    """One reading for each signal. `source` gives the adapter of an address of the declaration."""
    readings: list[Reading] = []
    for name, signal in scaling.signals.items():
        where = signal.source or scaling.source
        reading = source(where).read(name, signal.query, signal.aggregate, signal.stale_after, now)
        if reading.known and now - reading.at > timedelta(seconds=signal.stale_after):
            reading = unknown(name, reading.at, f"is older than {signal.stale_after:g} s")
        readings.append(reading)
    return tuple(readings)


def explain(
    scaling: Scaling,
    source: Callable[[str], MetricsSource],
    *,
    current: int | None,
    changed: datetime | None,
    now: datetime,
    capacity: int | None = None,
) -> Decision | None:
    """What would be decided now, or None where it is unknown how many replicas there are."""
    readings = take_readings(scaling, source, now=now)
    if current is None:
        log.warning("scaling.unknown", component=scaling.component, what="number of replicas")
        return None
    decision = decide(
        scaling, current=current, readings=readings, changed=changed, now=now, capacity=capacity
    )
    log.info(
        "scaling.decision",
        component=decision.component,
        current=decision.current,
        wanted=decision.wanted,
        reason=decision.reason,
        readings={reading.signal: reading.value for reading in readings},
    )
    return decision


def apply_decision(
    decision: Decision,
    *,
    current: int | None,
    now: datetime,
    good_for: float,
    fence: Fence,
    scale: Callable[[str, int], None],
) -> None:
    """Carry a decision out. Raises StaleDecision where what it was made on no longer holds.

    `current` is the number of replicas now; `good_for` seconds is how old a decision may be.
    """
    age = (now - decision.at).total_seconds()
    if age < -_SKEW:
        raise StaleDecision(
            f"the decision for {decision.component} was made at {decision.at.isoformat()}, which is yet to come",
            remedy="set the clocks of this machine and of who decided, and let the sensor decide again",
        )
    if age > good_for:
        raise StaleDecision(
            f"the decision for {decision.component} is {age:.0f} s old; it was good for {good_for:.0f} s",
            remedy="let the sensor decide again, and approve that decision",
        )
    if current != decision.current:
        raise StaleDecision(
            f"the decision for {decision.component} was made for {decision.current} replicas; there are "
            f"{'an unknown number' if current is None else current} now",
            remedy="let the sensor decide again, and approve that decision",
        )
    fence.check()
    scale(decision.component, decision.wanted)
    log.info("scaling.applied", component=decision.component, was=decision.current, now=decision.wanted)


def decision_facts(decision: Decision) -> Mapping[str, object]:
    """The decision with all that it was made on, as JSON values."""
    return {
        "component": decision.component,
        "current": decision.current,
        "wanted": decision.wanted,
        "at": decision.at.isoformat(),
        "policy": decision.policy,
        "reason": decision.reason,
        "bounded_by": list(decision.bounded_by),
        "signals": [
            {
                "signal": opinion.signal,
                "value": reading.value,
                "at": reading.at.isoformat(),
                "asks_for": opinion.replicas,
                "why": opinion.reason,
            }
            for opinion, reading in zip(decision.opinions, decision.readings, strict=True)
        ],
    }
