"""Verbs of scaling: `scale explain`."""

from __future__ import annotations

import click

from ops_pipelines.cli.output import Context, json_option, show_json, show_rows
from ops_pipelines.engines.scale import decision_facts
from ops_pipelines.wiring import scaling


@click.group()
def scale() -> None:
    """See what scaling would decide, and why."""


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
