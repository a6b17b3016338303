"""What a plan says of a move, and whether two versions fit at once; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ops_pipelines.policy.bluegreen_project import green_name
from ops_pipelines.policy.machine import Card, Memory
from ops_pipelines.policy.plan import Plan, Step
from ops_pipelines.policy.words import size_in_words
from ops_pipelines.stack.bluegreen import BlueGreen
from ops_pipelines.stack.components import Resources


def with_moves(plan: Plan, moves: Mapping[str, BlueGreen], notes: Sequence[str] = ()) -> Plan:
    """The plan of a deploy in which `moves` go beside, not instead. `notes` are added to its warnings."""
    first = [step for component, rule in moves.items() for step in _before(component, rule)]
    last = [step for component, rule in moves.items() for step in _after(component, rule)]
    steps = [
        replace(step, detail=f"{step.detail}; its traffic is with {green_name(_component(step))} meanwhile")
        if step.verb == "replace" and _component(step) in moves
        else step
        for step in plan.steps
    ]
    return replace(plan, steps=(*first, *steps, *last), warnings=(*plan.warnings, *notes))


def replaced(plan: Plan) -> tuple[str, ...]:
    """Services whose containers a plan makes anew."""
    return tuple(_component(step) for step in plan.steps if step.verb == "replace")


def _component(step: Step) -> str:
    return step.subject.removeprefix("component/")


def _before(component: str, rule: BlueGreen) -> Iterator[Step]:
    green = green_name(component)
    yield Step(
        "create", f"component/{green}", f"the new version, beside {component}; asked before anybody else asks"
    )
    yield Step(
        "switch", f"proxy/{rule.door}", f"{component} -> {green}, reloaded without dropping a connection"
    )
    words = (
        f"for {rule.watch:g} s at most {rule.errors:.2%} of at least {rule.requests} requests may fail, by "
        f"{rule.readings.kind}; else, or where that is unknown, back to {component}"
    )
    yield Step("check", f"traffic/{component}", words)


def _after(component: str, rule: BlueGreen) -> Iterator[Step]:
    green = green_name(component)
    yield Step("switch", f"proxy/{rule.door}", f"{green} -> {component}, which is the new version by then")
    yield Step(
        "remove", f"component/{green}", f"once its last requests have ended, after {rule.drain:g} s at most"
    )


def two_fit(
    needs: Resources, replicas: int, cards: tuple[Card, ...] | str, memory: Memory | None
) -> tuple[bool | None, str]:
    """Whether as many more of a component fit beside those that run, with words; None where that is unknown.

    `cards` and `memory` are what is free while the old version runs; `cards` may be the reason why they are unknown."""
    if needs.memory and memory is not None and memory.available < needs.memory * replicas:
        wanted, free = size_in_words(needs.memory * replicas), size_in_words(memory.available)
        return False, f"a second one takes {wanted} of memory, and {free} are free"
    if not (needs.gpus or needs.gpu is not None or needs.gpu_memory or needs.gpu_utilization):
        return True, "it takes no card"
    if isinstance(cards, str):
        return None, f"whether two fit on the cards is unknown: {cards}"
    ours = [card for card in cards if needs.gpu in (None, card.index)]
    if not ours:
        return None, "the card that it takes is not seen from here"
    if not needs.gpu_memory and not needs.gpu_utilization:
        return None, "what it takes of a card is not declared (resources.gpu_memory)"
    room = 0
    for card in ours:
        if card.free is None:
            return None, f"what is free on card {card.index} is unknown"
        each = needs.gpu_memory or int(card.memory * (needs.gpu_utilization or 0))
        room += card.free // each if each else 0
    if room < replicas:
        free = ", ".join(f"{size_in_words(card.free or 0)} on card {card.index}" for card in ours)
        asked = (
            size_in_words(needs.gpu_memory) if needs.gpu_memory else f"{needs.gpu_utilization:.0%} of a card"
        )
        return False, f"a second one takes {replicas} x {asked}, and {free} is free"
    return True, "two fit on the cards"
