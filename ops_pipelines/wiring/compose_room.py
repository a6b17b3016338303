"""Whether the engine's machine has the cards, the driver and the disk that a Compose project asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ops_pipelines.adapters.hardware import driver_version
from ops_pipelines.adapters.machine import LocalMachine
from ops_pipelines.policy.compose_needs import (
    device_findings,
    disk_finding,
    driver_finding,
    given_cards,
    planned_memory,
    vram_findings,
)
from ops_pipelines.policy.compose_project import count_of
from ops_pipelines.policy.plan import Finding
from ops_pipelines.wiring import compose_data, loaded
from ops_pipelines.wiring.compose_site import ComposeSite

_ELSEWHERE = "the engine is on another machine"


def findings(here: ComposeSite, services: Mapping[str, Mapping[str, Any]], root: str) -> Iterator[Finding]:
    """Card files, memory per card, drivers, disk. `services` are resolved, `root` is the folder of Docker's data."""
    if here.docker.is_local:
        yield from device_findings(services, lambda path: Path(path).exists())
    yield from _cards(here, services)
    yield from _disks(here, services, root)


def _cards(here: ComposeSite, services: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """Only of services that the files give cards to: a component's place on a card means nothing to others."""
    given = given_cards(services)
    asked = {name: one.resources for name, one in here.site.stack.components.items() if name in given}
    if any(one.gpu is not None for one in asked.values()):
        seen = loaded.cards(here.site)
        counts = {name: count_of(services[name]) for name in asked}
        yield from vram_findings(planned_memory(asked, counts, seen.cards), seen.cards, seen.note)
    if drivers := {name: one.driver for name, one in asked.items() if one.driver is not None}:
        found = driver_version() if here.docker.is_local else None
        note = "no driver of cards is loaded here" if here.docker.is_local else _ELSEWHERE
        for name, least in drivers.items():
            yield driver_finding(name, least, found, note)


def _disks(here: ComposeSite, services: Mapping[str, Mapping[str, Any]], root: str) -> Iterator[Finding]:
    """Space that is set aside for the caches of what is deployed, less what is in them already."""
    stack, machine = here.site.stack, LocalMachine(here.site.settings.environ.get("PATH", ""))
    for name, cache in stack.caches.items():
        users = {one.served_by for one in stack.models.values() if one.cache == name}
        if not cache.size or not users & set(services):
            continue
        folders = [Path(one.folder) for one in compose_data.places(here, "model_cache", name)]
        if not here.docker.is_local or not all(map(compose_data.can_read, folders)):
            yield disk_finding(name, cache.size, 0, None)
            continue
        disk = machine.disk((folders or [Path(root)])[0])
        used = sum(map(machine.used, folders))
        size = cache.size * max(1, len(folders))
        yield disk_finding(name, size, used, None if disk is None else disk.free)
