"""Verbs of what runs: logs, build, down, test."""

from __future__ import annotations

import click

from ops_pipelines.cli.output import Context, json_option, profile_option, show_findings, show_plan
from ops_pipelines.errors import UsageError
from ops_pipelines.wiring import deployments


@click.command()
@click.argument("stack")
@click.argument("component", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on showing what is printed, until Ctrl-C.")
@click.option(
    "-n", "--lines", type=click.IntRange(min=0), default=100, show_default=True, help="Lines of each log."
)
@click.pass_obj
def logs(context: Context, stack: str, component: str | None, follow: bool, lines: int) -> int:
    """Show what STACK prints, or one COMPONENT of it."""
    status = deployments.logs(context.site(stack), component, lines=lines, follow=follow)
    return 1 if status else 0


@click.command()
@click.argument("stack")
@click.argument("components", nargs=-1)
@profile_option
@click.pass_obj
def build(context: Context, stack: str, components: tuple[str, ...], profile: str | None) -> int:
    """Build the images of STACK that are made from its own Dockerfiles, or of some COMPONENTS."""
    return 1 if deployments.build(context.site(stack, profile), components) else 0


@click.command()
@click.argument("stack")
@click.option("--volumes", is_flag=True, help="Remove its volumes too, with all that is in them.")
@click.option("--apply", is_flag=True, help="Do it. Without it, the plan is shown and nothing is changed.")
@json_option
@click.pass_obj
def down(context: Context, stack: str, volumes: bool, apply: bool, as_json: bool) -> None:
    """Stop STACK and remove what runs of it. Its data stays, unless --volumes is given."""
    site = context.site(stack)
    done = deployments.down(site, volumes=volumes) if apply else deployments.down_plan(site, volumes=volumes)
    show_plan(done, as_json=as_json)
    if not apply and not as_json and not done.empty:
        click.echo("nothing was changed; --apply does it")


@click.command()
@click.argument("stack")
@json_option
@click.pass_obj
def test(context: Context, stack: str, as_json: bool) -> int:
    """Ask STACK what it must be able to answer: every replica its health and its models, then the smoke test."""
    site = context.site(stack)
    deployments.require_supported(site)
    findings = (*deployments.health_findings(site), *deployments.answers(site))
    if not findings:
        raise UsageError(
            f"{stack} declares nothing that could be asked", remedy="add components, or `smoke:`"
        )
    return show_findings(findings, as_json=as_json, good="it answers as it must")


COMMANDS = (logs, build, down, test)
