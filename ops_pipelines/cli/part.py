"""The verb `part`, which ops-pipelines calls by itself: in a one-off container, beside the files of one part."""

from __future__ import annotations

import click

from ops_pipelines.cli.output import Context


@click.command(hidden=True)
@click.argument("verb")
@click.argument("part")
@click.pass_obj
def part(context: Context, verb: str, part: str) -> int:
    """Do VERB on PART, as the environment says; for containers that ops-pipelines starts."""
    from ops_pipelines.wiring import part_work

    del verb, part  # they are for whoever reads `docker ps`: what is done stands in the environment
    return part_work.run(context.settings)


COMMANDS = (part,)
