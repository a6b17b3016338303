"""What components declare of blue-green, whatever target they run on."""

from __future__ import annotations

from ops_pipelines.adapters import health
from ops_pipelines.errors import UsageError
from ops_pipelines.policy.bluegreen import Rule
from ops_pipelines.stack.bluegreen import BlueGreen
from ops_pipelines.wiring.site import Site


def declared(site: Site) -> dict[str, BlueGreen]:
    """Components that may go this way."""
    components = site.stack.components
    return {name: one.blue_green for name, one in components.items() if one.blue_green is not None}


def require_declared(site: Site) -> dict[str, BlueGreen]:
    """The same. Raises UsageError where there are none."""
    rules = declared(site)
    if not rules:
        raise UsageError(
            f"no component of {site.name} declares how its traffic would move",
            remedy="declare components.NAME.blue_green (docs/how-to/blue-green.md), or deploy without --blue-green",
        )
    return rules


def longest_drain(site: Site) -> float:
    """Seconds that requests of any component may take to end before they are cut."""
    return max((one.drain for one in declared(site).values()), default=0.0)


def rule_of(said: BlueGreen) -> Rule:
    """By what a watch is judged."""
    return Rule(said.watch, said.errors, said.requests, said.unknown_for)


def probe(url: str | None) -> None:
    """Ask something through the door, where a URL is declared for that."""
    if url is not None:
        health.check_http("probe", url)  # how it was answered is counted where all requests are
