"""What model servers hold in memory now, and what of it the declaration asks for. Sizes are bytes; None is unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ops_pipelines.policy.cache_names import shown_name
from ops_pipelines.policy.machine import Card
from ops_pipelines.policy.words import size_in_words
from ops_pipelines.stack.components import Component
from ops_pipelines.stack.data import Model
from ops_pipelines.stack.model import Stack

ModelState = Literal["loaded", "asleep", "not loaded", "unknown"]

SERVERS = ("ollama", "vllm", "aphrodite", "model-server")
"""Kinds of components that hold models in memory."""


@dataclass(frozen=True)
class LoadedModel:
    """One model that a server holds."""

    name: str
    """As the server names it."""
    memory: int | None = None
    """All of it, wherever it lies."""
    vram: int | None = None
    """What of it lies on cards."""
    asleep: bool = False
    """Its server keeps it outside the cards until it is woken (vLLM's sleep mode)."""
    base: str = ""
    """Model that it adapts."""
    until: str = ""
    """When the server will let it go, as it says."""


@dataclass(frozen=True)
class ServerModels:
    """What one replica of a model server holds."""

    component: str
    replica: str
    address: str
    models: tuple[LoadedModel, ...] | None
    """None where it could not be asked; `note` says why."""
    note: str = ""
    share: float | None = None
    """Share of each of its cards that the server has claimed for itself, as it says."""


@dataclass(frozen=True)
class CardsSeen:
    """The cards of the machine that a stack runs on."""

    cards: tuple[Card, ...] | None
    """None where they are unknown; `note` says why. Empty where the machine has none."""
    note: str = ""


def served_name(model: Model) -> str:
    """The name under which a model's server knows it."""
    return model.served_as or model.source.split(":", 1)[1].split("@", 1)[0]


def same_name(kind: str, one: str, other: str) -> bool:
    """Whether two names mean one model to a server of a kind: Ollama takes `llama3` for `llama3:latest`."""
    return shown_name(one) == shown_name(other) if kind == "ollama" else one == other


def served_here(stack: Stack, component: str) -> dict[str, Model]:
    """The declared models that a component answers for, base models before adapters."""
    found = {name: one for name, one in stack.models.items() if one.served_by == component}
    return dict(sorted(found.items(), key=lambda item: item[1].role == "adapter"))


def model_rows(stack: Stack, seen: Sequence[ServerModels]) -> list[dict[str, Any]]:
    """A line for each model that is held or declared, at each server: for programs."""
    rows: list[dict[str, Any]] = []
    for server in seen:
        kind = stack.components[server.component].kind
        wanted = served_here(stack, server.component)
        for held in server.models or ():
            key = next((k for k, m in wanted.items() if same_name(kind, served_name(m), held.name)), "")
            rows.append(_row(server, held.name, key, "asleep" if held.asleep else "loaded", held))
        for key, model in wanted.items():
            name = served_name(model)
            if not any(same_name(kind, name, held.name) for held in server.models or ()):
                rows.append(_row(server, name, key, "unknown" if server.models is None else "not loaded"))
        if server.models is None and not wanted:
            rows.append(_row(server, "", "", "unknown"))
    return rows


def _row(
    server: ServerModels, name: str, key: str, state: ModelState, held: LoadedModel | None = None
) -> dict[str, Any]:
    return {
        "component": server.component,
        "replica": server.replica,
        "model": name,
        "declared": key,
        "state": state,
        "memory": held.memory if held else None,
        "vram": held.vram if held else None,
        "card_share": server.share,
        "base": held.base if held else "",
        "until": held.until if held else "",
        "detail": server.note,
    }


def planned(components: Mapping[str, Component]) -> dict[int, int]:
    """Memory that the declaration asks of each card that it names, all replicas together."""
    found: dict[int, int] = {}
    for one in components.values():
        asked = one.resources
        if asked.gpu is not None and asked.gpu_memory is not None and one.address is None:
            found[asked.gpu] = found.get(asked.gpu, 0) + asked.gpu_memory * one.replicas
    return found


def card_rows(stack: Stack, seen: CardsSeen) -> list[dict[str, Any]]:
    """A line for each card that is there or declared: its memory, what is taken, what is declared."""
    asked = planned(stack.components)
    there = {card.index: card for card in seen.cards or ()}
    return [
        {
            "card": index,
            "name": there[index].name if index in there else "",
            "memory": there[index].memory if index in there else None,
            "used": _used(there.get(index)),
            "free": there[index].free if index in there else None,
            "declared": asked.get(index),
            "detail": "" if index in there else seen.note or "this machine has no such card",
        }
        for index in sorted({*there, *asked})
    ]


def _used(card: Card | None) -> int | None:
    return None if card is None or card.free is None else card.memory - card.free


def model_lines(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same for people."""
    return [
        {
            "component": row["component"],
            "replica": row["replica"],
            "model": row["model"] + (f" (on {row['base']})" if row["base"] else ""),
            "state": row["state"],
            "memory": _size(row["memory"], held=row["state"] in ("loaded", "asleep")),
            "on cards": _on_cards(row),
            "until": row["until"],
            "detail": row["detail"],
        }
        for row in rows
    ]


def card_lines(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same for people."""
    return [
        {
            "card": row["card"],
            "name": row["name"],
            **{word: _size(row[word], held=True) for word in ("memory", "used", "free")},
            "declared": "" if row["declared"] is None else size_in_words(row["declared"]),
            "detail": row["detail"],
        }
        for row in rows
    ]


def _on_cards(row: Mapping[str, Any]) -> str:
    if row["vram"] is None and row["card_share"] is not None and row["state"] == "loaded":
        return f"{row['card_share']:.0%} of each of its cards"
    return _size(row["vram"], held=row["state"] in ("loaded", "asleep"))


def _size(size: int | None, *, held: bool) -> str:
    if size is None:
        return "unknown" if held else ""
    return size_in_words(size)
