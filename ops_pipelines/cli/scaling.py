"""Verbs of scaling: `scale explain STACK`, `scale STACK COMPONENT=N`."""

from __future__ import annotations

import click

from ops_pipelines.cli.output import Context, DefaultGroup, json_option, show_json, show_rows
from ops_pipelines.engines.scale import decision_facts
from ops_pipelines.errors import UsageError
from ops_pipelines.wiring import connect, deployments, scaling


@click.group(cls=DefaultGroup, default="to", subcommand_metavar="STACK COMPONENT=N... | explain STACK")
def scale() -> None:
    """Scale components by hand, or see what scaling would decide, and why."""


@scale.command(name="to", hidden=True)
@click.argument("stack")
@click.argument("wanted", nargs=-1, required=True, metavar="COMPONENT=N...")
@click.pass_obj
def to(context: Context, stack: str, wanted: tuple[str, ...]) -> None:
    """Bring components of STACK to so many replicas (`to` may be left out)."""
    counts: dict[str, int] = {}
    for word in wanted:
        component, _, number = word.partition("=")
        if not component or not number.isdecimal():
            raise UsageError(f"{word!r} is no COMPONENT=N", remedy="write, for one, embedder=2")
        counts[component] = int(number)
    site = context.site(stack)
    for component in counts:
        connect.component(site, component)  # all of them, before the first is changed
    for component, count in counts.items():
        deployments.set_replicas(site, component, count)
        click.echo(f"{component}: {count} replicas")


@scale.command()
@click.argument("stack")
@json_option
@click.pass_obj
def explain(context: Context, stack: str, as_json: bool) -> int:
    """Read the signals of STACK now and say what they add up to. Nothing is changed."""
    site = context.site(stack)
    decisions = {name: scaling.explain(site, name) for name in site.stack.scaling}
    if as_json:
        show_json({name: decision_facts(d) if d else None for name, d in decisions.items()})
        return 0 if all(decisions.values()) else 1
    for name, decision in decisions.items():
        if decision is None:
            click.echo(
                f"{name}: nothing is decided: no replica runs here, or it is unknown how many do "
                f"(`ops-pipelines status {stack}` shows them)"
            )
            continue
        click.echo(f"{name}: {decision.current} -> {decision.wanted} replicas: {decision.reason}")
        show_rows(
            (
                {
                    "signal": opinion.signal,
                    "value": "unknown" if reading.value is None else f"{reading.value:g}",
                    "asks for": "-" if opinion.replicas is None else opinion.replicas,
                    "why": opinion.reason,
                }
                for opinion, reading in zip(decision.opinions, decision.readings, strict=True)
            ),
            empty="no signals",
        )
    if not decisions:
        click.echo(f"{stack} declares no scaling")
    return 0 if all(decisions.values()) else 1


COMMANDS = (scale,)
