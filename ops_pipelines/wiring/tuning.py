"""Settings that fit this machine, or one that is described."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ops_pipelines.adapters.hardware import find_hardware
from ops_pipelines.policy import tuning
from ops_pipelines.policy.machine import Card
from ops_pipelines.policy.plan import Step
from ops_pipelines.policy.tuning import Goal, Hardware, Maker, Setting
from ops_pipelines.wiring.site import Site

_TUNED = frozenset({"ollama", "vllm", "aphrodite"})


def hardware(site: Site, maker: Maker | None, cards: Sequence[int], memory: int | None) -> Hardware:
    """This machine; or another one, of which maker, bytes of each card and of memory are given."""
    here = find_hardware(site.settings.environ.get("PATH", ""))
    if maker is None and not cards and memory is None:
        return here
    described = tuple(Card(index, "as described", size, size) for index, size in enumerate(cards))
    return Hardware(maker or ("nvidia" if cards else "cpu"), here.cores, memory or here.memory, described)


def settings(site: Site, found: Hardware, goal: Goal) -> tuple[tuple[Setting, ...], tuple[str, ...]]:
    """Settings of the stack's model servers, and what does not fit whatever is set."""
    chosen = tuning.tune(site.stack, found, goal)
    return chosen, tuning.unfit(site.stack, found, chosen)


def advice(site: Site, given: Mapping[str, Mapping[str, str]]) -> tuple[Step, ...]:
    """What a plan says of settings that do not fit this machine; `given` are those that the servers start with."""
    if not any(site.stack.components[name].kind in _TUNED for name in given if name in site.stack.components):
        return ()
    found = find_hardware(site.settings.environ.get("PATH", ""))
    return tuning.advice(tuning.tune(site.stack, found), given)
