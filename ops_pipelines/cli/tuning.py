"""The verb `tune`."""

from __future__ import annotations

from dataclasses import asdict
from typing import cast, get_args

import click

from ops_pipelines.cli.output import Context, json_option, profile_option, show_json, show_rows
from ops_pipelines.policy.tuning import Goal, Hardware, Maker
from ops_pipelines.policy.words import size_in_words
from ops_pipelines.wiring import tuning

_GIB = 1 << 30


@click.command()
@click.argument("stack")
@click.option("--goal", type=click.Choice(get_args(Goal)), default="balanced", show_default=True)
@click.option(
    "--maker", type=click.Choice(get_args(Maker)), help="Hardware of another machine than this one."
)
@click.option(
    "--card", "cards", type=click.FloatRange(min=1), multiple=True, help="GiB of a card of it; repeat it."
)
@click.option("--memory", type=click.FloatRange(min=1), help="GiB of its memory.")
@profile_option
@json_option
@click.pass_obj
def tune(
    context: Context,
    stack: str,
    goal: str,
    maker: str | None,
    cards: tuple[float, ...],
    memory: float | None,
    profile: str | None,
    as_json: bool,
) -> int:
    """Show the settings of STACK's model servers that fit this machine, each with the reason. Nothing is changed."""
    site = context.site(stack, profile)
    found = tuning.hardware(
        site,
        cast("Maker | None", maker),
        [int(card * _GIB) for card in cards],
        int(memory * _GIB) if memory else None,
    )
    settings, unfit = tuning.settings(site, found, cast("Goal", goal))
    if as_json:
        show_json({"hardware": asdict(found), "settings": [asdict(one) for one in settings], "unfit": unfit})
        return 1 if unfit else 0
    click.echo(_words(found))
    rows = (
        {
            "component": one.component,
            "model": one.model,
            "setting": one.name,
            "value": one.value,
            "why": one.why,
        }
        for one in settings
    )
    show_rows(rows, empty=f"{stack} has no model server that is tuned")
    for words in unfit:
        click.echo(f"! {words}")
    return 1 if unfit else 0


def _words(found: Hardware) -> str:
    memory = size_in_words(found.memory) if found.memory is not None else "unknown memory"
    cards = ", ".join(f"{one.name} ({size_in_words(one.memory)})" for one in found.cards) or "no card"
    note = f"; {found.note}" if found.note else ""
    return f"{found.maker}: {found.cores} cores, {memory}, {cards}{note}"


COMMANDS = (tune,)
