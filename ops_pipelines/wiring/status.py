"""A stack as it is now: each replica, whether it answers, whether it is as declared."""

from __future__ import annotations

from typing import Any

from ops_pipelines.engines._deploy_needs import ReplicaStatus
from ops_pipelines.policy import serving
from ops_pipelines.policy.plan import Finding
from ops_pipelines.wiring import loaded
from ops_pipelines.wiring.artifacts import require_supported, supported, unsupported
from ops_pipelines.wiring.site import Site
from ops_pipelines.wiring.targets import on


def status(site: Site) -> tuple[ReplicaStatus, ...]:
    """Each replica as it is now."""
    require_supported(site)
    return on(site).status(site)


def status_rows(site: Site) -> list[dict[str, Any]]:
    """Each replica as a line for people."""
    words = {True: "yes", False: "NO", None: "unknown"}
    return [
        {
            "component": one.component,
            "replica": one.name,
            "state": one.state or "elsewhere",
            "answers": words[one.healthy],
            "up for": f"{one.uptime:.0f} s" if one.uptime is not None else "",
            "pid": one.pid or "",
            "detail": one.detail,
        }
        for one in status(site)
    ]


def model_rows(site: Site) -> list[dict[str, Any]]:
    """Each model that a server of the stack holds or should be able to hold, with its memory in bytes."""
    return serving.model_rows(site.stack, loaded.loaded(site))


def card_rows(site: Site) -> list[dict[str, Any]]:
    """Each card that the stack can work on or asks for, with its memory in bytes."""
    if not any(loaded.asks_for_cards(one) for one in site.stack.components.values()):
        return []
    return serving.card_rows(site.stack, loaded.cards(site))


def replica_numbers(site: Site, component: str) -> tuple[int, ...] | None:
    """Numbers of the replicas of a component that are up or coming up; None where that is unknown.

    A component that runs elsewhere is not counted.
    """
    declared = site.stack.components.get(component)
    if not supported(site) or declared is None or declared.address is not None:
        return None
    return on(site).replica_numbers(site, component)


def replicas(site: Site, component: str) -> int | None:
    """How many replicas of a component run now; None where that is unknown."""
    numbers = replica_numbers(site, component)
    return None if numbers is None else len(numbers)


def health_findings(site: Site) -> tuple[Finding, ...]:
    """Whether every replica answers."""
    if not supported(site):
        return (unsupported(site),)
    look = f"look at its log: `ops-pipelines status {site.name}` names the replica"
    return tuple(
        Finding(one.name, one.healthy, one.detail or str(one.state), "" if one.healthy else look)
        for one in status(site)
    )


def drift_findings(site: Site) -> tuple[Finding, ...]:
    """Whether what runs is what is declared. Raises Unreachable where what runs is unknown."""
    if not supported(site):
        return (unsupported(site),)
    found = on(site).drift(site)
    if found.empty:
        return (Finding(site.name, True, "what runs is what is declared"),)
    return tuple(
        Finding(step.subject, False, f"would {step.verb}: {step.detail}", "deploy the stack to mend it")
        for step in found.changes
    )
