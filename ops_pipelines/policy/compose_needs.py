"""What a Compose project asks of its engine, as findings; pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ops_pipelines.policy.compose_project import Project, count_of
from ops_pipelines.policy.machine import Card
from ops_pipelines.policy.plan import Finding
from ops_pipelines.policy.words import size_in_words
from ops_pipelines.stack.components import Resources

OLDEST = (2, 20)
"""Compose before it lacks what is asked of it (`config --no-interpolate` of whole projects, `up --wait-timeout`)."""

_CARD_FILES = ("/dev/kfd", "/dev/dri", "/dev/nvidia")
Services = Mapping[str, Mapping[str, Any]]


def version_finding(version: str) -> Finding:
    """Whether the Compose plugin is new enough; an unreadable version is not known."""
    words = version.split("-", maxsplit=1)[0].split(".")
    try:
        number = (int(words[0]), int(words[1]))
    except (ValueError, IndexError):
        return Finding("compose", None, f"its version {version!r} is not understood", severity="warning")
    if number < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        return Finding("compose", False, f"Docker Compose {version} is too old", f"install {wanted} or newer")
    return Finding("compose", True, f"Docker Compose {version}")


def secret_findings(project: Project, values: Mapping[str, str | None]) -> Iterator[Finding]:
    """Whether each secret variable has a value. `values` holds None, or the value, by variable; no value is told.

    One that is only used with a default (`${NAME:-x}`) may be absent."""
    for name in project.references:
        if values.get(name):
            yield Finding(f"secret/{name}", True, "can be read")
        elif _has_default(project.model, name):
            yield Finding(f"secret/{name}", True, "is not set; the project has a default for it")
        else:
            what = "is empty" if values.get(name) == "" else "is not set"
            yield Finding(
                f"secret/{name}", False, f"the variable {what}", f"set {name}, or declare it under secrets:"
            )


def published_ports(services: Services) -> Iterator[tuple[int, str]]:
    """(port of the machine, service) of every published port of one number, each once."""
    seen: set[int] = set()
    for name, service in services.items():
        for port in service.get("ports") or ():
            published = str(port.get("published", "")) if isinstance(port, Mapping) else ""
            if published.isdecimal() and int(published) not in seen:
                seen.add(int(published))
                yield int(published), name


def memory_finding(services: Services, memory: int) -> Finding:
    """Whether the memory that services ask for fits the machine: reservations, where there are none limits."""
    asked = sum(_memory(one) * count_of(one) for one in services.values())
    words = f"{size_in_words(asked)} asked for, {size_in_words(memory)} there"
    if not memory:
        return Finding("memory", None, "the engine does not say how much there is", severity="warning")
    if asked > memory:
        return Finding(
            "memory", False, words, "lower `deploy.resources`, or run it on a larger machine", "warning"
        )
    return Finding("memory", True, words)


def gpu_findings(services: Services, runtimes: Sequence[str]) -> Iterator[Finding]:
    """Whether services that ask for NVIDIA cards find the runtime that gives them."""
    for name, service in services.items():
        asks = _asks_for_nvidia(service)
        if asks and "nvidia" in runtimes:
            yield Finding(f"gpu/{name}", True, "the engine has the NVIDIA runtime")
        elif asks:
            yield Finding(
                f"gpu/{name}",
                False,
                f"{name} asks for a card, and the engine has no NVIDIA runtime",
                "install the NVIDIA Container Toolkit and restart Docker, or choose a profile without cards",
            )


def given_cards(services: Services) -> frozenset[str]:
    """Services that are given cards: NVIDIA's by the runtime, others' as device files."""
    return frozenset(
        name
        for name, service in services.items()
        if _asks_for_nvidia(service) or any(one.startswith(_CARD_FILES) for one in _device_files(service))
    )


def _asks_for_nvidia(service: Mapping[str, Any]) -> bool:
    devices = (((service.get("deploy") or {}).get("resources") or {}).get("reservations") or {}).get(
        "devices"
    )
    return service.get("runtime") == "nvidia" or any(
        "gpu" in (one.get("capabilities") or ()) or one.get("driver") == "nvidia" for one in devices or ()
    )


def _device_files(service: Mapping[str, Any]) -> Iterator[str]:
    for device in service.get("devices") or ():
        source = str(device.get("source", "")) if isinstance(device, Mapping) else str(device).split(":")[0]
        if source.startswith("/dev/"):
            yield source


def planned_memory(
    components: Mapping[str, Resources], counts: Mapping[str, int], cards: Sequence[Card] | None
) -> dict[int, int]:
    """Bytes that components' replicas take on the card that each is put on: what is declared in bytes, else its share
    of the card, where the cards are known."""
    sizes = {card.index: card.memory for card in cards or ()}
    planned: dict[int, int] = {}
    for name, asked in components.items():
        if asked.gpu is None:
            continue
        share = int((asked.gpu_utilization or 0) * sizes.get(asked.gpu, 0))
        planned[asked.gpu] = planned.get(asked.gpu, 0) + (asked.gpu_memory or share) * counts.get(name, 1)
    return planned


def vram_findings(planned: Mapping[int, int], cards: Sequence[Card] | None, note: str) -> Iterator[Finding]:
    """Whether what the declaration puts on each card fits it; None where cards or their memory are unknown."""
    there = {card.index: card for card in cards or ()}
    for index, asked in sorted(planned.items()):
        subject, card = f"card/{index}", there.get(index)
        if cards is None:
            words = f"{size_in_words(asked)} are declared on it, and the cards are unknown: {note}"
            yield Finding(subject, None, words, "look at the machine: nvidia-smi, rocm-smi", "warning")
        elif card is None:
            words = f"{size_in_words(asked)} are declared on it, and the machine has no card {index}"
            yield Finding(subject, False, words, "correct resources.gpu, or choose a profile without cards")
        elif asked > card.memory:
            words = (
                f"{size_in_words(asked)} are declared on it, and {card.name} has {size_in_words(card.memory)}"
            )
            yield Finding(subject, False, words, "move a component to another card, or take smaller models")
        else:
            fits = f"{size_in_words(asked)} of {size_in_words(card.memory)} ({card.name})"
            yield Finding(subject, True, fits)


def driver_finding(component: str, least: str, found: str | None, note: str) -> Finding:
    """Whether the cards' driver is new enough; None where its version is unknown."""
    subject = f"driver/{component}"
    if found is None:
        words = f"{component} needs {least} or newer, and the version is unknown: {note}"
        return Finding(subject, None, words, "look at the machine: nvidia-smi, modinfo amdgpu", "warning")
    if _version(found) < _version(least):
        return Finding(
            subject, False, f"{found}, and {component} needs {least} or newer", "update the cards' driver"
        )
    return Finding(subject, True, f"{found} is {least} or newer")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(one) for one in re.findall(r"\d+", text)[:4])


def device_findings(services: Services, there: Callable[[str], bool]) -> Iterator[Finding]:
    """Whether device files that services are given (AMD's /dev/kfd, /dev/dri) are on the machine."""
    for name, service in services.items():
        for source in _device_files(service):
            subject = f"device/{source}"
            if there(source):
                yield Finding(subject, True, f"is there, for {name}")
            else:
                mend = "install the cards' driver (amdgpu, xe or i915), or choose a profile without cards"
                yield Finding(subject, False, f"is not there, and {name} is given it", mend)


def disk_finding(cache: str, size: int, used: int, free: int | None) -> Finding:
    """Whether the space that a model cache sets aside is there; `used` is what it holds already."""
    subject, missing = f"disk/{cache}", max(0, size - used)
    if free is None:
        return Finding(subject, None, "how much is free is unknown", severity="warning")
    words = (
        f"{size_in_words(missing)} are yet to come of {size_in_words(size)}, {size_in_words(free)} are free"
    )
    if missing > free:
        return Finding(subject, False, words, "make room, or put Docker's data on a larger disk", "warning")
    return Finding(subject, True, words)


def _has_default(value: Any, name: str) -> bool:
    """Whether every use of a variable has a default or is optional."""
    if isinstance(value, str):
        return f"${{{name}}}" not in value and f"${{{name}:?" not in value and f"${{{name}?" not in value
    if isinstance(value, Mapping):
        if value.get("environment") == name:
            return False
        return all(_has_default(one, name) for one in value.values())
    if isinstance(value, list):
        return all(_has_default(one, name) for one in value)
    return True


def _memory(service: Mapping[str, Any]) -> int:
    resources = (service.get("deploy") or {}).get("resources") or {}
    for found in (
        (resources.get("reservations") or {}).get("memory"),
        service.get("mem_reservation"),
        (resources.get("limits") or {}).get("memory"),
        service.get("mem_limit"),
    ):
        if found is not None and str(found).isdecimal():
            return int(found)
    return 0
