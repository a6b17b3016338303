"""Scaling of one stack: readings from its sources, the decision, and carrying it out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from ops_pipelines.adapters.machine import LocalMachine
from ops_pipelines.adapters.prometheus import Memory, MetricsPages, PrometheusServer
from ops_pipelines.engines import scale
from ops_pipelines.engines.ports import MetricsSource
from ops_pipelines.errors import TargetUnsupported, UsageError
from ops_pipelines.policy.programs import port_of
from ops_pipelines.policy.readings import Decision
from ops_pipelines.stack.operations import Scaling
from ops_pipelines.wiring import _scaling_memory, deployments, status
from ops_pipelines.wiring.connect import component, lease, now
from ops_pipelines.wiring.site import Site


def rule(site: Site, name: str) -> Scaling:
    """A scaling rule of the stack. Raises UsageError that names the known ones."""
    found = site.stack.scaling.get(name)
    if found is None:
        raise UsageError(
            f"the stack {site.name} has no scaling rule {name!r}",
            remedy=f"its rules: {', '.join(site.stack.scaling) or 'none'}",
        )
    return found


def evaluate(site: Site, name: str) -> Decision | None:
    """Take the readings of one rule and decide: for the one sensor that does so again and again.

    None where it is unknown how many replicas run, or none was ever started: scaling starts no stack. Nothing
    is changed but the memory of the readings, which the next mean of a histogram needs.
    """
    with _scaling_memory.means(site, name) as memory:
        return _decision(site, name, memory)


def explain(site: Site, name: str) -> Decision | None:
    """The same for whoever looks beside the sensor; what that remembers is left alone."""
    with _scaling_memory.means_beside(site, name) as memory:
        return _decision(site, name, memory)


def _decision(site: Site, name: str, memory: Memory) -> Decision | None:
    scaling = rule(site, name)
    numbers = status.replica_numbers(site, scaling.component)
    if not numbers and scaling.minimum:
        numbers = None
    return scale.explain(
        scaling,
        _sources(site, scaling, memory, numbers or (0,)),
        current=None if numbers is None else len(numbers),
        changed=_scaling_memory.changed(site, name),
        now=now(),
        capacity=None if numbers is None else _capacity(site, scaling.component, len(numbers)),
    )


def apply(site: Site, name: str, *, current: int, wanted: int, decided: datetime, by: str) -> None:
    """Carry a decision out. Raises StaleDecision, TargetUnsupported, LeaseHeld, UsageError."""
    scaling = rule(site, name)
    _require_ours(name, scaling)
    _require_in_bounds(name, scaling, current, wanted)
    if decided.tzinfo is None:
        raise UsageError(
            f"the time of the decision, {decided.isoformat()}, has no zone",
            remedy="give it as the decision does: 2026-01-02T03:04:05+00:00",
        )
    deployments.require_supported(site)
    decision = Decision(scaling.component, current, wanted, decided, "", (), (), (), scaling.policy)
    with lease(site, f"scale {scaling.component} to {wanted} ({by})") as fence:

        def change(component: str, count: int) -> None:
            # First: one that is killed, or fails half way, has changed something too.
            _scaling_memory.note_change(site, name, now())
            deployments.scale_held(site, component, count, fence)

        scale.apply_decision(
            decision,
            current=deployments.replicas(site, scaling.component),
            now=now(),
            good_for=_good_for(scaling),
            fence=fence,
            scale=change,
        )


def _require_ours(name: str, scaling: Scaling) -> None:
    if scaling.owner != "ops-pipelines":
        raise TargetUnsupported(
            f"the replicas of {scaling.component} belong to {scaling.owner}",
            remedy=f"set scaling.{name}.owner to ops-pipelines, and remove the other owner first",
        )
    if scaling.mode == "observe":
        raise UsageError(
            f"the scaling of {scaling.component} only observes; nothing is changed by it",
            remedy=f"set scaling.{name}.mode to approve or auto",
        )


def _require_in_bounds(name: str, scaling: Scaling, current: int, wanted: int) -> None:
    """Inside the bounds, or on the way there from outside, as the steps are bounded too."""
    nearer_down = scaling.maximum <= wanted < current
    nearer_up = current < wanted <= scaling.minimum
    if not (scaling.minimum <= wanted <= scaling.maximum or nearer_down or nearer_up):
        raise UsageError(
            f"{wanted} replicas of {scaling.component} are outside {scaling.minimum}..{scaling.maximum}",
            remedy=f"change scaling.{name}.minimum or .maximum",
        )


def _good_for(scaling: Scaling) -> float:
    """An approved decision must be acted on within the cooldown, an automatic one within some intervals."""
    return max(scaling.cooldown, 10 * scaling.every)


def _capacity(site: Site, name: str, current: int) -> int | None:
    """Replicas that the memory of the cards holds, those that run included; None where none is declared.

    Cards that cannot be looked at hold no more than run now: what is unknown adds nothing.
    """
    needs = component(site, name).resources
    if not needs.gpu_memory:
        return None
    cards = LocalMachine(site.settings.environ.get("PATH", "")).cards()
    if isinstance(cards, str):
        return current
    free = [card.free for card in cards if needs.gpu in (None, card.index)]
    return current + sum(size // needs.gpu_memory for size in free if size is not None)


def _sources(
    site: Site, scaling: Scaling, memory: Memory, numbers: Sequence[int]
) -> Callable[[str], MetricsSource]:
    """Gives the adapter of an address: pages in the text format where it ends in /metrics, else a server."""

    def source(address: str) -> MetricsSource:
        if not address.rstrip("/").endswith("/metrics"):
            return PrometheusServer(address)
        return MetricsPages(_pages(site, scaling.component, address, numbers), memory)

    return source


def _pages(site: Site, name: str, address: str, numbers: Sequence[int]) -> list[str]:
    """The address once for each replica that runs, where it holds `{port.NAME}`."""
    declared = component(site, name)
    words = {f"{{port.{port}}}": port for port in declared.ports if f"{{port.{port}}}" in address}
    pages: list[str] = []
    for replica in numbers:
        page = address
        for word, port in words.items():
            page = page.replace(word, str(port_of(declared, port, replica)))
        pages.append(page)
    return list(dict.fromkeys(pages))
