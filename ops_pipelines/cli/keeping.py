"""The verb `kept`."""

from __future__ import annotations

import click

from ops_pipelines.cli._shared import say_bad, show_dry
from ops_pipelines.cli.output import Context, json_option, show_json, show_rows
from ops_pipelines.errors import UsageError
from ops_pipelines.policy.words import size_in_words
from ops_pipelines.wiring import keeping
from ops_pipelines.wiring.connect import now


@click.command()
@click.argument("stack")
@click.option("--remove", "names", multiple=True, help="Remove this one, by its name; may be repeated.")
@click.option("--all", "everything", is_flag=True, help="With --remove's meaning, for all of them.")
@click.option("--apply", is_flag=True, help="Do it. Without it, the plan is shown and nothing changes.")
@json_option
@click.pass_obj
def kept(
    context: Context, stack: str, names: tuple[str, ...], everything: bool, apply: bool, as_json: bool
) -> int:
    """What restores of STACK have kept of the old content: list it, or remove it with --remove NAME or --all."""
    site = context.site(stack)
    if names and everything:
        raise UsageError("--remove and --all are two wishes", remedy="leave one of them out")
    if apply and not names and not everything:
        raise UsageError("--apply of nothing", remedy="say what is to go: --remove NAME, or --all")
    if not names and not everything:
        found = keeping.kept(site)
        if as_json:
            show_json(found)
        else:
            show_rows(
                (
                    {
                        "part": one.part,
                        "name": one.name,
                        "age": "unknown" if one.made is None else keeping.age_in_words(one.made, now()),
                        "size": "unknown" if one.size is None else size_in_words(one.size),
                        "holds": one.detail,
                    }
                    for one in found.places
                ),
                empty="nothing is kept",
            )
            say_bad(found.unknown)
        return 1 if found.unknown else 0
    if not apply:
        show_dry(keeping.plan_removal(site, names, everything=everything), as_json=as_json)
        return 0
    gone = keeping.remove(site, names, everything=everything, by="command line")
    if as_json:
        show_json({"removed": gone})
    else:
        for one in gone:
            click.echo(f"{one.part}: {one.name} is removed")
        click.echo(f"{len(gone)} removed")
    return 0


COMMANDS = (kept,)
