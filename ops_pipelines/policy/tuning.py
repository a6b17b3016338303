"""Settings of model servers from the machine's hardware and the models that they serve, each with the reason.

Figures are those of the stacks' deployment guides, put right where they would break: what is asked of a card is never
more than the card, and shares of several servers on one card add up to the share of one.
"""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from ops_pipelines.policy.machine import Card
from ops_pipelines.policy.plan import Step
from ops_pipelines.policy.words import size_in_words
from ops_pipelines.stack.components import Component
from ops_pipelines.stack.data import Model
from ops_pipelines.stack.model import Stack

Maker = Literal["cpu", "nvidia", "amd", "intel", "apple"]
Goal = Literal["balanced", "throughput", "latency", "memory"]
GIB = 1 << 30


@dataclass(frozen=True)
class Hardware:
    """What a machine computes with. Memory is bytes; None where it is not known."""

    maker: Maker
    cores: int
    """Physical cores."""
    memory: int | None
    cards: tuple[Card, ...] = ()
    note: str = ""
    """Why something is not known."""


@dataclass(frozen=True)
class Setting:
    """One setting of one component, and why it has this value."""

    component: str
    name: str
    """In the server's own words: an environment variable, an option, or a parameter of a model."""
    value: str
    why: str
    model: str = ""
    """Model whose parameter it is; empty for the server's own."""


@dataclass(frozen=True)
class Tier:
    """One row of the table for Apple's unified memory."""

    memory: int
    models: tuple[str, ...]
    loaded: int
    context: int
    layers: int
    """Layers on the graphics processor; -1 is all."""
    batch: int


APPLE = (
    Tier(64, ("llama3:70b-instruct-q4_K_M", "mixtral:8x22b-instruct-q4_K_M"), 4, 16384, -1, 4096),
    Tier(32, ("mixtral:8x7b-instruct-v0.1-q4_K_M",), 3, 8192, -1, 2048),
    Tier(16, ("llama3:8b-instruct-q4_K_M", "mistral:7b-instruct-q4_K_M"), 2, 4096, 35, 1024),
    Tier(0, ("phi3:mini", "gemma:2b"), 1, 2048, 20, 512),
)
"""Tiers of the Obelisk guide by GiB, with the tags that the library has (`llama3:13b` is none of them)."""
_MODELS: Mapping[str, Mapping[str, int]] = {
    "llama3:70b": {"num_gpu": -1, "num_batch": 2048, "num_ctx": 4096},
    "mixtral:8x7b": {"num_gpu": 40, "num_batch": 1024, "num_ctx": 32768},
    "phi3:mini": {"num_gpu": -1, "num_batch": 512, "num_ctx": 2048},
}
"""Parameters by model of the Obelisk guide; what they do is in Ollama's Modelfile reference."""
_SMALL_CARD, _SMALL_LAYERS, _SMALL_BATCH = 24 * GIB, 35, 512
_SHARES: Mapping[Goal, float] = {"throughput": 0.90, "latency": 0.70, "memory": 0.60}
_SHARE_BY_CARD = ((80, 0.90), (48, 0.85), (0, 0.75))
"""Share of a card by its GiB (LLM Service guide), for the goal `balanced`."""
_MEMORY_CONTEXT = 4096
_NEAR = 0.9
"""A card that is sold as 24 GB has a little less than 24 GiB."""


def tune(stack: Stack, hardware: Hardware, goal: Goal = "balanced") -> tuple[Setting, ...]:
    """Settings of every model server of a stack that runs on this hardware, in the order of the components."""
    found: list[Setting] = []
    shares = _shares(stack, hardware, goal)
    for name, component in stack.components.items():
        models = {key: one for key, one in stack.models.items() if one.served_by == name}
        if component.kind == "ollama":
            found += _ollama(name, models, hardware, goal)
        elif component.kind in ("vllm", "aphrodite"):
            found += _sharing(name, component, models, hardware, goal, shares)
    return tuple(found)


def tier(memory: int) -> Tier:
    """Row of the Apple table for so many bytes."""
    return next(one for one in APPLE if memory >= one.memory * GIB * _NEAR)


def _ollama(name: str, models: Mapping[str, Model], hardware: Hardware, goal: Goal) -> Iterator[Setting]:
    card = min((one.memory for one in hardware.cards), default=None)
    on_card = hardware.maker != "cpu"
    apple = tier(hardware.memory) if hardware.maker == "apple" and hardware.memory is not None else None
    parallel = 8 if on_card else 4
    yield Setting(
        name,
        "OLLAMA_NUM_PARALLEL",
        str(parallel),
        f"{parallel} at once {'on a card' if on_card else 'on the CPU'}",
    )
    loaded = apple.loaded if apple else 4 if on_card else 2
    why = (
        f"{size_in_words(hardware.memory)} of unified memory"
        if apple and hardware.memory
        else "models kept loaded"
    )
    yield Setting(name, "OLLAMA_MAX_LOADED_MODELS", str(loaded), why)
    if hardware.maker in ("cpu", "amd"):
        where = "the CPU" if hardware.maker == "cpu" else "ROCm"
        yield Setting(name, "OLLAMA_FLASH_ATTENTION", "0", f"flash attention gains nothing on {where}")
    else:
        yield Setting(name, "OLLAMA_FLASH_ATTENTION", "1", "needed by a quantised KV cache")
        yield Setting(
            name, "OLLAMA_KV_CACHE_TYPE", "q8_0", "half the memory of the context at almost no loss"
        )
    if hardware.maker in ("nvidia", "amd", "intel"):
        overhead = GIB if hardware.maker == "nvidia" else 2 * GIB
        yield Setting(
            name, "OLLAMA_GPU_OVERHEAD", str(overhead), f"{size_in_words(overhead)} of each card left free"
        )
    if goal == "memory":
        yield Setting(name, "OLLAMA_CONTEXT_LENGTH", str(_MEMORY_CONTEXT), "the goal `memory`")
    elif apple:
        yield Setting(name, "OLLAMA_CONTEXT_LENGTH", str(apple.context), why)
    for key, model in models.items():
        if model.role != "embedding":
            yield from _parameters(name, key, model, hardware, card, apple)


def _parameters(
    name: str, key: str, model: Model, hardware: Hardware, card: int | None, apple: Tier | None
) -> Iterator[Setting]:
    reference = model.source.partition(":")[2]
    table = next((row for known, row in _MODELS.items() if reference.startswith(known)), {})
    layers, batch = table.get("num_gpu", -1), table.get("num_batch", _SMALL_BATCH)
    why = (
        f"the guide's table for {reference.split('@')[0]}"
        if table
        else "the default for models not in the table"
    )
    if apple:
        layers, batch, why = apple.layers, apple.batch, f"the tier of {apple.memory or 8} GB Macs"
    elif hardware.maker == "cpu":
        layers, why = 0, "there is no card"
    elif card is None:
        layers, batch, why = (
            _SMALL_LAYERS,
            min(batch, _SMALL_BATCH),
            "the card's memory is not known: as for a small one",
        )
    elif card < _SMALL_CARD * _NEAR:
        # -1 is all layers, so it is the largest number of them and not the smallest.
        layers = _SMALL_LAYERS if layers == -1 else min(layers, _SMALL_LAYERS)
        batch, why = min(batch, _SMALL_BATCH), f"a card of {size_in_words(card)} is under 24 GB"
    if model.memory is not None and card is not None and model.memory > card and layers != 0:
        part = card / model.memory
        why = f"{size_in_words(model.memory)} of weights on a card of {size_in_words(card)}: Ollama splits it"
        layers = max(0, int(part * _SMALL_LAYERS))
    yield Setting(name, "num_gpu", str(layers), why, key)
    yield Setting(name, "num_batch", str(batch), why, key)
    if "num_ctx" in table and not apple:
        yield Setting(name, "num_ctx", str(table["num_ctx"]), f"the guide's table for {reference}", key)
    yield Setting(
        name, "num_thread", str(hardware.cores), "physical cores: more threads wait for each other", key
    )


def _sharing(
    name: str,
    component: Component,
    models: Mapping[str, Model],
    hardware: Hardware,
    goal: Goal,
    shares: Mapping[str, tuple[float, str]],
) -> Iterator[Setting]:
    if name not in shares:
        return
    share, why = shares[name]
    yield Setting(name, "--gpu-memory-utilization", f"{share:.2f}", why)
    asked = max(1, component.resources.gpus)
    if asked > 1:
        there = len(hardware.cards)
        words = f"{asked} cards are declared" + (f", and only {there} are here" if there < asked else "")
        yield Setting(name, "--tensor-parallel-size", str(min(asked, there) if there else asked), words)
    lengths = [one.context for one in models.values() if one.context]
    if goal == "memory":
        yield Setting(name, "--max-model-len", str(min([_MEMORY_CONTEXT, *lengths])), "the goal `memory`")
    elif lengths:
        yield Setting(name, "--max-model-len", str(max(lengths)), "the longest context that is declared")


def _shares(stack: Stack, hardware: Hardware, goal: Goal) -> dict[str, tuple[float, str]]:
    """Share of its card for each server: what the goal gives one card, divided among all that are on it."""
    on: dict[int, list[str]] = defaultdict(list)
    for name, component in stack.components.items():
        if component.kind in ("vllm", "aphrodite"):
            first = component.resources.gpu or 0
            for index in range(first, first + max(1, component.resources.gpus)):
                on[index] += [name] * max(1, component.replicas if component.resources.gpu is not None else 1)
    found: dict[str, tuple[float, str]] = {}
    for index, names in on.items():
        card = next((one for one in hardware.cards if one.index == index), None)
        whole, why = _whole(card, goal)
        for name in dict.fromkeys(names):
            share = int(100 * whole / len(names)) / 100
            words = why + (f", shared by {len(names)} servers on card {index}" if len(names) > 1 else "")
            if name not in found or share < found[name][0]:
                found[name] = (share, words)
    return found


def _whole(card: Card | None, goal: Goal) -> tuple[float, str]:
    if goal != "balanced":
        return _SHARES[goal], f"the goal `{goal}`"
    if card is None:
        return _SHARE_BY_CARD[-1][1], "the card is not known: as for the smallest"
    share = next(share for gib, share in _SHARE_BY_CARD if card.memory >= gib * GIB * _NEAR)
    return share, f"a card of {size_in_words(card.memory)}"


def unfit(stack: Stack, hardware: Hardware, settings: Sequence[Setting]) -> tuple[str, ...]:
    """What does not fit on any setting: models larger than what their server is given of its cards."""
    share = {one.component: float(one.value) for one in settings if one.name == "--gpu-memory-utilization"}
    words = []
    for key, model in stack.models.items():
        if model.served_by not in share or model.memory is None or not hardware.cards:
            continue
        resources = stack.components[model.served_by].resources
        first = resources.gpu or 0
        cards = hardware.cards[first : first + max(1, resources.gpus)]
        given = int(sum(one.memory for one in cards) * share[model.served_by])
        if model.memory > given:
            words.append(
                f"{key} takes {size_in_words(model.memory)}, and {model.served_by} is given {size_in_words(given)}: "
                "choose a smaller or quantised model, or more cards"
            )
    return tuple(words)


def given_to(
    environment: Mapping[str, str | None] | Sequence[str], command: str | Sequence[str] | None
) -> dict[str, str]:
    """Settings that a server starts with, by name: its variables, as a mapping or as `NAME=value`, and the long options
    of its command."""
    if not isinstance(environment, Mapping):
        environment = {name: value for name, _, value in (one.partition("=") for one in environment)}
    found = {name: str(value) for name, value in environment.items() if value is not None}
    words = shlex.split(command) if isinstance(command, str) else [str(one) for one in command or ()]
    for word, after in pairwise([*words, ""]):
        if word.startswith("--"):
            name, has_value, value = word.partition("=")
            found[name] = value if has_value else "" if after.startswith("--") else after
    return found


def advice(settings: Sequence[Setting], given: Mapping[str, Mapping[str, str]]) -> tuple[Step, ...]:
    """What a plan says of settings that servers start with: a line for each server of which some do not fit. Parameters
    of models are left out: they are given with requests, or in a Modelfile."""
    lines: dict[str, list[str]] = {}
    for one in settings:
        if one.model or one.component not in given:
            continue
        now = given[one.component].get(one.name)
        if now is not None and not _same(now, one.value):
            lines.setdefault(one.component, []).append(
                f"{one.name} is {now}, and {one.value} fits: {one.why}"
            )
    return tuple(Step("check", f"tuning/{name}", "; ".join(words)) for name, words in lines.items())


def _same(one: str, other: str) -> bool:
    try:
        return float(one) == float(other)
    except ValueError:
        return one == other
