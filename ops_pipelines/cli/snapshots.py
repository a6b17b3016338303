"""Verbs of the snapshots that there are: snapshots (list, diff), pin, unpin."""

from __future__ import annotations

from dataclasses import asdict

import click

from ops_pipelines.cli._shared import bucket_options
from ops_pipelines.cli.output import Context, DefaultGroup, json_option, show_json, show_rows
from ops_pipelines.errors import UsageError
from ops_pipelines.policy.snapshot_diff import PartDiff
from ops_pipelines.policy.words import size_in_words
from ops_pipelines.wiring import bucket, snapshots


@click.group(name="snapshots", cls=DefaultGroup, default="list")
def snapshots_group() -> None:
    """List the snapshots of a stack, or compare two: `snapshots STACK` is `snapshots list STACK`."""


@snapshots_group.command(name="list")
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


@snapshots_group.command(name="diff")
@click.argument("stack")
@click.argument("before")
@click.argument("after")
@json_option
@click.pass_obj
def diff(context: Context, stack: str, before: str, after: str, as_json: bool) -> None:
    """Show how snapshot AFTER of STACK differs from BEFORE: models, rows, files, bytes."""
    found = snapshots.difference(context.site(stack), before, after)
    if as_json:
        show_json({**asdict(found), "same": found.same})
        return
    show_rows((_diff_row(part) for part in found.parts), empty="no parts")
    for part in found.parts:
        for model in part.models:
            click.echo(
                f"{part.part}: {model.name} {model.change}: {model.before or 'none'} -> {model.after or 'none'}"
            )
        for table, (was, now) in (part.tables or {}).items():
            click.echo(f"{part.part}: {table}: {_count(was)} -> {_count(now)} rows")
    if found.declaration_changed:
        click.echo("the declaration of the stack differs")
    if found.revision_before != found.revision_after:
        click.echo(f"deployed revision: {_count(found.revision_before)} -> {_count(found.revision_after)}")
    words = f"{size_in_words(found.bytes_before)} -> {size_in_words(found.bytes_after)}"
    click.echo(
        f"{words}, {size_in_words(found.bytes_new)} of it new" if not found.same else f"{words}: the same"
    )


def _diff_row(part: PartDiff) -> dict[str, str]:
    more = part.bytes_after - part.bytes_before
    rows = part.rows_more
    return {
        "part": part.part,
        "state": part.change,
        "bytes": f"{'-' if more < 0 else '+'}{size_in_words(abs(more))}",
        "rows": "" if rows is None else f"{rows:+d}",
        "files": f"+{len(part.files_added)} -{len(part.files_removed)} ~{len(part.files_changed)}",
    }


def _count(number: int | None) -> str:
    return "none" if number is None else str(number)


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


COMMANDS = (snapshots_group, pin, unpin)
