"""How many replicas a component should have, concluded from readings.

`saturation` asks for what the most loaded signal needs, by the rule of Kubernetes' HorizontalPodAutoscaler
(ceil(current * value / target), no change within a tolerance), so that one saturated signal is never averaged
away. `weighted` is the mean rule of the Obelisk guide, kept for who asks for it by name: it can remove replicas
while a card is at 100 %.

In both, an unknown reading holds: nothing is removed, not even where the maximum was lowered, and where a floor
(free memory) is unknown nothing is added either.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime

from ops_pipelines.policy.readings import Decision, Opinion, Reading
from ops_pipelines.stack.operations import Scaling, Signal

_UP, _DOWN = 1.2, 0.8
_MOST_UP, _MOST_DOWN = 0.5, 0.3


def decide(
    scaling: Scaling,
    *,
    current: int,
    readings: Sequence[Reading],
    changed: datetime | None,
    now: datetime,
    capacity: int | None = None,
) -> Decision:
    """The decision at `now` for a component with `current` replicas.

    `changed` is when replicas were last changed; `capacity` how many replicas the hardware can hold, None where
    nothing bounds them.
    """
    by_name = {reading.signal: reading for reading in readings}
    taken = [(name, signal, by_name.get(name)) for name, signal in scaling.signals.items()]
    opinions = tuple(_opinion(name, signal, reading, current, scaling) for name, signal, reading in taken)
    floors = _floor_breaches(taken)
    wanted, reason = _wanted(scaling, current, opinions, by_name)
    wanted, bounds = _bounded(scaling, current, wanted, opinions, floors, changed, now, capacity)
    if bounds:
        reason = f"{reason}; bounded by {', '.join(bounds)}"
    return Decision(
        component=scaling.component,
        current=current,
        wanted=wanted,
        at=now,
        reason=reason,
        opinions=opinions,
        bounded_by=tuple(bounds),
        readings=tuple(readings),
        policy=scaling.policy,
    )


def _opinion(name: str, signal: Signal, reading: Reading | None, current: int, scaling: Scaling) -> Opinion:
    if reading is None or reading.value is None or not math.isfinite(reading.value):
        why = reading.reason if reading is not None and reading.reason else "was not read"
        return Opinion(name, None, f"unknown: {why}")
    value = reading.value
    if reading.quiet:
        return Opinion(name, current, f"{reading.reason}, so it asks for nothing")
    if value < 0:
        return Opinion(name, None, f"unknown: {value:g} is no load")
    if signal.floor:
        state = "above" if value >= signal.target else "BELOW"
        return Opinion(name, current, f"{value:g} is {state} the floor of {signal.target:g}")
    ratio = value / signal.target
    if abs(ratio - 1) <= scaling.tolerance:
        return Opinion(name, current, f"{value:g} is at its target of {signal.target:g}")
    needed = math.ceil(max(current, 1) * ratio - 1e-9)
    relation = "over" if ratio > 1 else "under"
    return Opinion(name, needed, f"{value:g} is {relation} its target of {signal.target:g}")


def _floor_breaches(taken: Sequence[tuple[str, Signal, Reading | None]]) -> list[str]:
    return [
        name
        for name, signal, reading in taken
        if signal.floor and (reading is None or reading.value is None or not reading.value >= signal.target)
    ]


def _wanted(
    scaling: Scaling, current: int, opinions: Sequence[Opinion], readings: Mapping[str, Reading]
) -> tuple[int, str]:
    known = [op for op in opinions if op.replicas is not None and not scaling.signals[op.signal].floor]
    if not known:
        return current, "no signal could be read"
    voices = [op for op in known if not readings[op.signal].quiet]
    if not voices:
        return current, known[0].reason
    if scaling.policy == "weighted":
        return _weighted(scaling, current, readings)
    loudest = max(voices, key=lambda op: op.replicas or 0)
    return loudest.replicas or 0, f"{loudest.signal} {loudest.reason}"


def _weighted(scaling: Scaling, current: int, readings: Mapping[str, Reading]) -> tuple[int, str]:
    """The Obelisk guide's rule: a weighted mean of value / target, truncated with int()."""
    signals = {name: signal for name, signal in scaling.signals.items() if not signal.floor}
    known = {name: readings[name].value for name in signals if name in readings}
    if len(known) < len(signals) or any(
        value is None or not math.isfinite(value) for value in known.values()
    ):
        return current, "a signal is unknown, so there is no mean"
    total = sum(signal.weight for signal in signals.values())
    factor = sum(
        signals[name].weight * (value or 0.0) / signals[name].target for name, value in known.items()
    )
    factor = factor / total if total else 1.0
    if factor > _UP:
        return int(current * (1 + min(factor - 1, _MOST_UP))), f"the weighted mean is {factor:.2f}"
    if factor < _DOWN:
        return int(current * (1 - min(1 - factor, _MOST_DOWN))), f"the weighted mean is {factor:.2f}"
    return current, f"the weighted mean is {factor:.2f}, near enough to 1"


def _bounded(
    scaling: Scaling,
    current: int,
    wanted: int,
    opinions: Sequence[Opinion],
    floors: Sequence[str],
    changed: datetime | None,
    now: datetime,
    capacity: int | None,
) -> tuple[int, list[str]]:
    bounds: list[str] = []
    unknown = [opinion.signal for opinion in opinions if opinion.replicas is None]
    if wanted > scaling.maximum:
        wanted, bounds = scaling.maximum, [f"the maximum of {scaling.maximum}"]
    if wanted < scaling.minimum:
        wanted, bounds = scaling.minimum, [f"the minimum of {scaling.minimum}"]
    if wanted < current and unknown:
        wanted, bounds = current, [f"unknown {', '.join(unknown)}"]
    if wanted < current and changed is not None and (now - changed).total_seconds() < scaling.cooldown:
        wanted, bounds = current, [f"the cooldown of {scaling.cooldown:g} s"]
    if wanted > current and floors:
        wanted, bounds = current, [f"the floor of {', '.join(floors)}"]
    wanted, bounds = _step(scaling, current, wanted, bounds)
    if capacity is not None and wanted > max(capacity, current):
        wanted, bounds = max(capacity, current), [*bounds, f"the hardware, which holds {capacity}"]
    return wanted, bounds


def _step(scaling: Scaling, current: int, wanted: int, bounds: list[str]) -> tuple[int, list[str]]:
    most = current + max(1, math.ceil(current * scaling.step_up))
    least = current - max(1, math.floor(current * scaling.step_down))
    if wanted > most:
        return most, [*bounds, f"the step of {most - current}"]
    if wanted < least:
        return least, [*bounds, f"the step of {current - least}"]
    return wanted, bounds
