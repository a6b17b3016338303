"""One line of a declaration made into an adapter: its component, model, cache, port and card."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ops_pipelines.policy._link_problem import LinkProblem, known_words, no_component
from ops_pipelines.policy.serving import planned
from ops_pipelines.stack.adapters import Adapter, Adapters
from ops_pipelines.stack.components import Component
from ops_pipelines.stack.data import Model, ModelCache
from ops_pipelines.stack.model import Stack

_GB = 10**9
_LAST_PORT = 65535


@dataclass(frozen=True)
class _Pattern:
    """What a new adapter is a copy of."""

    name: str
    component: Component
    model: Model
    cache_name: str
    cache: ModelCache


def with_adapters(stack: Stack) -> tuple[Stack, tuple[LinkProblem, ...]]:
    """The stack with every added adapter as if it had been written out, and what stands against that.

    Adapters are placed in the order in which they are declared, so that one more moves none of those before it. Where
    there is a problem, the stack comes back as it was."""
    rule = stack.adapters
    if rule is None or not rule.models:
        return stack, ()
    pattern = _pattern(stack, rule)
    problems = [pattern] if isinstance(pattern, LinkProblem) else []
    problems += _proxy(stack, rule)
    if problems or isinstance(pattern, LinkProblem):
        return stack, tuple(problems)
    grown = stack
    for name, adapter in rule.added.items():
        found = _added(grown, pattern, name, adapter)
        if isinstance(found, LinkProblem):
            problems.append(found)
        else:
            grown = found
    return (stack, tuple(problems)) if problems else (grown, ())


def placement(stack: Stack, name: str) -> str:
    """Where an added adapter is, in words for a plan; empty for any other component."""
    if stack.adapters is None or name not in stack.adapters.models or name not in stack.components:
        return ""
    one = stack.components[name]
    words = [f"like {stack.adapters.like}"]
    if stack.adapters.proxy is not None:
        words.append(f"path /{name} of {stack.adapters.proxy}")
    card, size = one.resources.gpu, one.resources.gpu_memory
    if card is not None and size is not None:
        taken = planned(stack.components)[card]
        words.append(
            f"{_gb(size)} on card {card}, which then has {_gb(taken)} of {_gb(stack.cards[card])} taken"
        )
    return "adapter: " + ", ".join(words)


def _pattern(stack: Stack, rule: Adapters) -> _Pattern | LinkProblem:
    """What `like` names, or why no adapter can be made like it."""
    where, breaks = "adapters.like", "nothing says how an added adapter is to be run"
    component = stack.components.get(rule.like)
    if component is None:
        return no_component(stack, where, rule.like, breaks)
    if component.address is not None or "http" not in component.ports or component.replicas != 1:
        return LinkProblem(
            where, f"{rule.like}, which runs elsewhere, has no port `http` or not one replica", breaks,
            "name a component that the stack runs itself, with one replica and a port `http`",
        )  # fmt: skip
    served = {name: one for name, one in stack.models.items() if one.served_by == rule.like}
    caches = {one.cache for one in served.values()}
    cache_name = next(iter(caches), None)
    holders = sum(one.cache == cache_name for one in stack.models.values())
    if len(served) != 1 or holders != 1 or cache_name is None or cache_name not in stack.caches:
        return LinkProblem(
            where, f"{rule.like}, which serves {len(served)} models, not one with a cache of its own", breaks,
            "name a component that serves one model, with a cache of its own",
        )  # fmt: skip
    if stack.target.kind != "process" and set(component.volumes) != {cache_name}:
        return LinkProblem(
            where,
            f"{rule.like}, which mounts {', '.join(component.volumes) or 'no volume'}, and not {cache_name} alone",
            "an added adapter would write into its volumes, or keep its model in none",
            f"let {rule.like} mount its cache alone: `volumes: {{{cache_name}: PATH}}`",
        )  # fmt: skip
    return _Pattern(rule.like, component, next(iter(served.values())), cache_name, stack.caches[cache_name])


def _proxy(stack: Stack, rule: Adapters) -> list[LinkProblem]:
    if rule.proxy is None:
        return []
    breaks = "nobody would be sent to an added adapter"
    proxy = stack.components.get(rule.proxy)
    if proxy is None:
        return [no_component(stack, "adapters.proxy", rule.proxy, breaks)]
    if proxy.kind != "proxy":
        return [
            LinkProblem(
                "adapters.proxy", f"{rule.proxy}, which is of kind {proxy.kind}", breaks,
                known_words(rule.proxy, [n for n, c in stack.components.items() if c.kind == "proxy"], "proxies"),
            )
        ]  # fmt: skip
    return []


def _added(stack: Stack, pattern: _Pattern, name: str, adapter: Adapter) -> Stack | LinkProblem:
    """The stack with one adapter more, or what stands against it."""
    where, cache_name = f"adapters.models.{name}", f"{name}-models"
    for taken, what in (
        (stack.components, "component"), (stack.models, "model"), (stack.caches, "cache"), (stack.volumes, "volume"),
    ):  # fmt: skip
        word = name if what in ("component", "model") else cache_name
        if word in taken:
            return LinkProblem(
                where, f"`{word}`, which is the name of a {what} already", "one would take the other's place",
                "give the adapter another name",
            )  # fmt: skip
    memory = adapter.memory if adapter.memory is not None else pattern.component.resources.gpu_memory
    card = _card(stack, pattern, where, adapter, memory)
    if isinstance(card, LinkProblem):
        return card
    port = _port(stack, pattern, where, adapter)
    if isinstance(port, LinkProblem):
        return port
    component = _component(pattern, name, cache_name, port, memory, card)
    path = re.sub(rf"(?<![\w-]){re.escape(pattern.name)}(?![\w-])", name, pattern.cache.path)
    if path == pattern.cache.path and stack.target.kind == "process":
        return LinkProblem(
            where, f"a cache at {path}, which is that of `{pattern.cache_name}` too",
            "a restore of the one would remove the other",
            f"put `{pattern.name}` into the path of cache {pattern.cache_name}: the adapter's has its own name there",
        )  # fmt: skip
    model = pattern.model.model_copy(
        update={
            "source": adapter.source, "role": "adapter", "cache": cache_name, "served_by": name, "served_as": None,
            "memory": memory, "digest": None,
        }
    )  # fmt: skip
    return stack.model_copy(
        update={
            "components": {**stack.components, name: component},
            "models": {**stack.models, name: model},
            "caches": {**stack.caches, cache_name: pattern.cache.model_copy(update={"path": path})},
        }
    )


def _component(
    pattern: _Pattern, name: str, cache: str, port: int, memory: int | None, card: int | None
) -> Component:
    one = pattern.component

    def own(text: str) -> str:
        words = text.replace(f"{{cache.{pattern.cache_name}}}", f"{{cache.{cache}}}")
        return renumbered(words, one.ports["http"], port)

    return one.model_copy(
        update={
            "description": f"Adapter {name}, like {pattern.name}.",
            "ports": {**one.ports, "http": port},
            "environment": {key: own(value) for key, value in one.environment.items()},
            "command": [own(word) for word in one.command],
            "volumes": {
                cache if volume == pattern.cache_name else volume: at for volume, at in one.volumes.items()
            },
            "blue_green": None,
            "resources": one.resources.model_copy(update={"gpu": card, "gpu_memory": memory}),
        }
    )


def renumbered(text: str, old: int, new: int) -> str:
    """A text in which one port stands for another."""
    return re.sub(rf"(?<!\d){old}(?!\d)", str(new), text)


def _port(stack: Stack, pattern: _Pattern, where: str, adapter: Adapter) -> int | LinkProblem:
    """The adapter's port; in a cluster that of the pattern, as each pod has an address of its own."""
    after = pattern.component.ports["http"]
    if stack.target.kind == "kubernetes":
        return adapter.port or after
    taken = {
        port + i: name
        for name, one in stack.components.items()
        for port in one.ports.values()
        for i in range(one.replicas)
    }
    if adapter.port in taken:
        return LinkProblem(
            f"{where}.port", f"{adapter.port}, which is a port of {taken[adapter.port]}",
            "one of them could not start", "take another one, or leave `port` out",
        )  # fmt: skip
    return adapter.port or next(port for port in range(after + 1, _LAST_PORT + 1) if port not in taken)


def _card(
    stack: Stack, pattern: _Pattern, where: str, adapter: Adapter, memory: int | None
) -> int | LinkProblem | None:
    """The card that has room, or why none has; None for an adapter that takes no card."""
    if pattern.component.resources.gpu is None and adapter.card is None:
        return None
    if memory is None:
        return LinkProblem(
            where, "an adapter that takes a card, and nobody says how much of it",
            "it may drive another model out of its card", f"write `memory`, or give {pattern.name} `gpu_memory`",
        )  # fmt: skip
    if not stack.cards:
        return LinkProblem(
            where, "an adapter that takes a card, and no card is declared", "nobody knows whether there is room for it",
            "declare the memory of each card: `cards: [20G, 20G]`",
        )  # fmt: skip
    if adapter.card is not None and adapter.card >= len(stack.cards):
        return LinkProblem(
            f"{where}.card", f"card {adapter.card}, where {len(stack.cards)} are declared under `cards`",
            "it could not be started", f"name one from 0 to {len(stack.cards) - 1}, or declare the card",
        )  # fmt: skip
    taken = planned(stack.components)
    left = {index: size - taken.get(index, 0) for index, size in enumerate(stack.cards)}
    asked = left if adapter.card is None else {adapter.card: left[adapter.card]}
    best = max(asked, key=lambda index: (asked[index], -index))
    if asked[best] >= memory:
        return best
    return LinkProblem(
        where, f"{_gb(memory)} for {where.rpartition('.')[2]}, and no card has room: {_rooms(stack, asked)}",
        "the last model to load drives another one out, or fails",
        "write a smaller `memory`, take a replica away or add a card under `cards`",
    )  # fmt: skip


def _rooms(stack: Stack, left: Mapping[int, int]) -> str:
    """What is on each card, in words."""
    words = []
    for index, free in left.items():
        on = [
            f"{name} {one.replicas} x {_gb(one.resources.gpu_memory)}"
            if one.replicas > 1
            else f"{name} {_gb(one.resources.gpu_memory)}"
            for name, one in stack.components.items()
            if one.resources.gpu == index
            and one.resources.gpu_memory
            and one.replicas
            and one.address is None
        ]
        words.append(
            f"card {index} has {_gb(max(free, 0))} left of {_gb(stack.cards[index])} ({', '.join(on) or 'nothing'})"
        )
    return "; ".join(words)


def _gb(size: int) -> str:
    return f"{size / _GB:g} GB"
