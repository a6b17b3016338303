"""Verbs of deployments: plan, deploy, status, rollback, up."""

from __future__ import annotations

from dataclasses import asdict

import click

from ops_pipelines.cli.output import (
    Context,
    errors_in,
    json_option,
    profile_option,
    show_findings,
    show_json,
    show_plan,
    show_rows,
)
from ops_pipelines.cli.progress import progress
from ops_pipelines.errors import OpsError
from ops_pipelines.policy import serving
from ops_pipelines.wiring import data, deployments, sources

_blue_green = click.option(
    "--blue-green/--no-blue-green",
    default=None,
    help="Start new versions beside the old ones and move the proxy's traffic, or do not. Without: as declared.",
)


@click.command()
@click.argument("stack")
@click.option("--to", type=click.IntRange(min=1), help="Show what going back to this revision would change.")
@_blue_green
@profile_option
@json_option
@click.pass_obj
def plan(
    context: Context, stack: str, to: int | None, blue_green: bool | None, profile: str | None, as_json: bool
) -> int:
    """Show what a deploy of STACK would change, and what is missing for it. Nothing is changed."""
    site = context.site(stack, profile)
    if to is not None:
        show_plan(deployments.plan(site, to=to, blue_green=blue_green), as_json=as_json)
        return 0
    planned, findings = deployments.plan_and_preflight(site, blue_green=blue_green)
    if as_json:
        show_json({"plan": planned, "preflight": findings})
        return 1 if errors_in(findings) else 0
    show_plan(planned, as_json=False)
    return show_findings(findings, as_json=False, good="everything that it needs is there")


@click.command()
@click.argument("stack")
@_blue_green
@profile_option
@json_option
@click.pass_obj
def deploy(context: Context, stack: str, blue_green: bool | None, profile: str | None, as_json: bool) -> None:
    """Make STACK run as it is declared: pull models, start components, create and fill collections.

    A deploy that fails puts the earlier revision back. Components with `blue_green` start beside their old version,
    which keeps the traffic until the new one was asked, and gets it back where that does badly.
    """
    site = context.site(stack, profile)
    with progress() as report:
        if not data.plan_fill(site).empty:
            deployments.require_preflight(site)  # before hours of pulling; the deploy looks again
        data.fill(site, report)
        result = deployments.deploy(site, by="command line", progress=report, blue_green=blue_green)
        try:
            collections = data.bring_collections(site, progress=report)
        except OpsError:
            click.echo(f"{_revision(result)}; its collections were not brought up to date:", err=True)
            raise
    if as_json:
        show_json({**asdict(result), "collections": collections.rows})
        return
    show_plan(result.plan, as_json=False)
    _say_watched(result)
    show_rows(deployments.status_rows(site), empty="no components")
    show_rows(collections.rows, empty="no collections")
    click.echo(_revision(result))


@click.command()
@click.argument("stack")
@json_option
@click.pass_obj
def status(context: Context, stack: str, as_json: bool) -> int:
    """Show each replica of STACK, whether it answers, the models that are loaded, and the memory of the cards.

    Then the models whose tags have moved at their sources, as far as that was asked before: nobody is asked now."""
    site = context.site(stack)
    rows = deployments.status_rows(site)
    models, cards = deployments.model_rows(site), deployments.card_rows(site)
    if as_json:
        notes = list(sources.source_notes(site))
        show_json({"replicas": rows, "models": models, "cards": cards, "notes": notes})
        return 0 if all(row["answers"] == "yes" for row in rows) else 1
    show_rows(rows, empty="no components")
    for more in (serving.model_lines(models), serving.card_lines(cards)):
        if more:
            click.echo()
            show_rows(more, empty="")
    for line in sources.source_notes(site):
        click.echo(f"! {line}")
    return 0 if all(row["answers"] == "yes" for row in rows) else 1


@click.command()
@click.argument("stack")
@click.option(
    "--to",
    type=click.IntRange(min=1),
    help="Revision to go back to (default: the one before the present deploy).",
)
@_blue_green
@json_option
@click.pass_obj
def rollback(context: Context, stack: str, to: int | None, blue_green: bool | None, as_json: bool) -> None:
    """Put the programs of an earlier revision of STACK back. `plan STACK --to N` shows it first.

    Data stays as it is; where models or collections were others then, it is said how they come back.
    """
    site = context.site(stack)
    deployments.require_supported(site)
    with progress() as report:
        number = deployments.previous(site) if to is None else to
        result = deployments.deploy(
            site, to=number, by="command line", progress=report, blue_green=blue_green
        )
    if as_json:
        show_json(result)
        return
    show_plan(result.plan, as_json=False)
    _say_watched(result)
    for finding in result.findings:
        if finding.ok is not True:
            click.echo(f"! {finding.subject}: {finding.message}")
    click.echo(_revision(result))


@click.command()
@click.argument("stack")
@json_option
@click.pass_obj
def revisions(context: Context, stack: str, as_json: bool) -> None:
    """List what was deployed of STACK, newest first."""
    found = deployments.revision_rows(context.site(stack))
    if as_json:
        show_json(found)
    else:
        show_rows(found, empty="nothing was deployed yet")


@click.command()
@click.option("--once", is_flag=True, help="Bring everything up, print the summary, and stop again.")
@click.pass_obj
def up(context: Context, once: bool) -> int:
    """Start the embedded services, the Obelisk stack and the Dagster pages on this machine."""
    from ops_pipelines.up.main import run

    return run(context.settings, once=once)


def _revision(result: deployments.DeployResult) -> str:
    if result.revision is None:
        return "nothing runs here for this stack, so no revision was recorded"
    if not result.recorded:
        return f"revision {result.revision} stands; nothing had changed"
    return f"deployed as revision {result.revision}"


def _say_watched(result: deployments.DeployResult) -> None:
    for one in result.watched:
        click.echo(f"{one.component} took its new version's traffic on: {one.judgement.reason}")


COMMANDS = (plan, deploy, status, rollback, revisions, up)
