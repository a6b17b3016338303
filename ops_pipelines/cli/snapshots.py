"""Verbs of the snapshots that there are: snapshots, pin, unpin."""

from __future__ import annotations

from dataclasses import asdict

import click

from ops_pipelines.cli._shared import bucket_options
from ops_pipelines.cli.output import Context, json_option, show_json, show_rows
from ops_pipelines.errors import UsageError
from ops_pipelines.policy.words import size_in_words
from ops_pipelines.wiring import bucket, snapshots


@click.command(name="snapshots")
@click.argument("stack", required=False)
@bucket_options
@json_option
@click.pass_obj
def list_snapshots(
    context: Context,
    stack: str | None,
    bucket_url: str | None,
    endpoint: str | None,
    region: str,
    as_json: bool,
) -> None:
    """List the snapshots of STACK, newest first. With --bucket, STACK may be left out."""
    warning = ""
    if bucket_url:
        found = bucket.list_snapshots(
            bucket.open_bucket(bucket_url, endpoint, region, context.settings), stack
        )
    else:
        site = context.site(_needed(stack))
        known = snapshots.listed(site)
        found = [(site.name, one) for one in known]
        warning = snapshots.last_attempt(site, known)
    if as_json:
        show_json([{"stack": name, **asdict(one)} for name, one in found])
        return
    show_rows(
        (
            {
                "stack": name,
                "snapshot": one.id,
                "size": "" if one.size is None else size_in_words(one.size),
                "state": snapshots.state_in_words(one),
            }
            for name, one in found
        ),
        empty="no snapshots",
    )
    if warning:
        click.echo(f"! {warning}")


@click.command()
@click.argument("stack")
@click.argument("snapshot")
@click.option("--reason", default="", help="Why, for whoever reads the list later.")
@click.pass_obj
def pin(context: Context, stack: str, snapshot: str, reason: str) -> None:
    """Keep SNAPSHOT whatever `backup.keep` says, until it is unpinned."""
    snapshots.pin(context.site(stack), snapshot, reason=reason, by="command line")
    click.echo(f"{snapshot} is pinned: prune leaves it alone")


@click.command()
@click.argument("stack")
@click.argument("snapshot")
@click.pass_obj
def unpin(context: Context, stack: str, snapshot: str) -> None:
    """Let `backup.keep` decide about SNAPSHOT again."""
    was = snapshots.unpin(context.site(stack), snapshot)
    click.echo(f"{snapshot} is no longer pinned" if was else f"{snapshot} was not pinned")


def _needed(stack: str | None) -> str:
    if stack is None:
        raise UsageError("name a stack", remedy="`ops-pipelines stacks` lists them; or use --bucket")
    return stack


COMMANDS = (list_snapshots, pin, unpin)
