"""The verb `migrate`."""

from __future__ import annotations

import click

from ops_pipelines.cli._shared import show_dry
from ops_pipelines.cli.output import Context, json_option, show_json, show_plan
from ops_pipelines.cli.progress import progress
from ops_pipelines.errors import UsageError
from ops_pipelines.wiring import migrations


@click.command()
@click.argument("stack")
@click.option(
    "--to", help="Form to move to: a profile of the stack file, or the target that one of them has."
)
@click.option(
    "--again", is_flag=True, help="Begin anew, with a backup of now, where an earlier one did not end."
)
@click.option("--finish", is_flag=True, help="Stop and remove the old form, once the stack was moved.")
@click.option("--volumes", is_flag=True, help="With --finish: remove the old one's volumes too.")
@click.option("--apply", is_flag=True, help="Do it. Without it, the plan is shown and nothing changes.")
@json_option
@click.pass_obj
def migrate(
    context: Context,
    stack: str,
    to: str | None,
    again: bool,
    finish: bool,
    volumes: bool,
    apply: bool,
    as_json: bool,
) -> None:
    """Move STACK with its data to another target: backup, restore and deploy there, verify, switch.

    The old form serves until the switch and stays after it, until --finish. A run that was cut off is gone on with by
    the next.
    """
    site = context.site(stack)
    if finish == (to is not None) or (volumes and not finish):
        raise UsageError(
            "`migrate` takes --to FORM, or --finish", remedy="see `ops-pipelines migrate --help`"
        )
    if to is None:
        planned = (migrations.finish if apply else migrations.finish_plan)(site, volumes=volumes)
        (show_plan if apply else show_dry)(planned, as_json=as_json)
        return
    if not apply:
        show_dry(migrations.plan(site, to), as_json=as_json)
        return
    with progress() as report:
        done = migrations.migrate(site, to, by="command line", again=again, progress=report)
    if as_json:
        show_json(done)
        return
    show_plan(done.plan, as_json=False)
    click.echo(f"{stack} runs as {done.migration.target}: {done.reached}")
    click.echo(
        f"{done.migration.source} stays as it is; ops-pipelines migrate {stack} --finish --apply removes it"
    )


COMMANDS = (migrate,)
