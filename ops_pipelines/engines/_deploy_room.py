"""Whether this machine has room for a stack: disk, memory, cards; and what the stack needs elsewhere."""

from __future__ import annotations

from pathlib import Path

from ops_pipelines.engines._deploy_needs import Machine, Tools
from ops_pipelines.policy.plan import Finding, Plan
from ops_pipelines.policy.programs import Places, cache_place, external_targets
from ops_pipelines.policy.words import size_in_words
from ops_pipelines.stack.model import Stack


def stack_findings(stack: Stack, places: Places, plan: Plan, tools: Tools) -> tuple[Finding, ...]:
    """Disk, memory, cards, and the components that run elsewhere."""
    return (
        *_disk(stack, places, tools.machine),
        *_memory(stack, plan, tools.machine),
        *_cards(stack, tools.machine),
        *(
            tools.health.check_address(f"component/{name}", address)
            for name, address in external_targets(stack).items()
        ),
    )


def _disk(stack: Stack, places: Places, machine: Machine) -> list[Finding]:
    needs: dict[Path, int] = {}
    for name, cache in stack.caches.items():
        for replica in range(cache.replicas if cache.size else 0):
            path = Path(cache_place(stack, name, replica, places))
            needs[path] = needs.get(path, 0) + max(0, (cache.size or 0) - machine.used(path))
    home = Path(places.home)
    for component in stack.components.values():
        if component.address is None and component.resources.disk:
            needs[home] = needs.get(home, 0) + component.resources.disk * component.replicas
    wanted: dict[int, int] = {}
    findings: dict[int, Finding] = {}
    unknown = []
    for path, size in needs.items():
        disk = machine.disk(path)
        if disk is None:
            unknown.append(Finding(f"disk/{path}", None, "free space could not be read", "look at its mount"))
            continue
        total = wanted[disk.device] = wanted.get(disk.device, 0) + size
        enough = disk.free >= total
        findings[disk.device] = Finding(
            f"disk/{disk.path}", enough, f"{size_in_words(total)} needed, {size_in_words(disk.free)} free",
            "" if enough else "free some space, or put the caches on another disk",
        )  # fmt: skip
    return [*findings.values(), *unknown]


def _memory(stack: Stack, plan: Plan, machine: Machine) -> list[Finding]:
    need = 0
    for step in plan.steps:
        component = step.subject.rpartition("/")[2].split(".")[1:2]
        if step.verb == "start" and component and component[0] in stack.components:
            need += stack.components[component[0]].resources.memory or 0
    if not need:
        return []
    memory = machine.memory()
    if memory is None:
        return [Finding("memory", None, f"{size_in_words(need)} needed; what is free could not be read",
                        severity="warning")]  # fmt: skip
    free, total = size_in_words(memory.available), size_in_words(memory.total)
    words = f"{size_in_words(need)} needed, {free} available of {total}"
    if need > memory.total:
        return [Finding("memory", False, words, "start fewer replicas, or smaller models")]
    if need > memory.available:
        return [Finding("memory", False, words, "stop something, or expect swapping", severity="warning")]
    return [Finding("memory", True, words)]


def _cards(stack: Stack, machine: Machine) -> list[Finding]:
    wanted = {
        name: max(component.resources.gpus, (component.resources.gpu or 0) + 1)
        for name, component in stack.components.items()
        if component.address is None and (component.resources.gpus or component.resources.gpu is not None)
    }
    if not wanted:
        return []
    seen = machine.cards()
    if isinstance(seen, str):
        return [Finding("cards", None, f"{', '.join(wanted)} need one; {seen}", severity="warning")]
    return [
        Finding(f"cards/{name}", len(seen) >= count, f"{count} needed, {len(seen)} here",
                "" if len(seen) >= count else "choose a profile for this machine")
        for name, count in wanted.items()
    ]  # fmt: skip
