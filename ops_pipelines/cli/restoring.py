"""The verb `restore`."""

from __future__ import annotations

from pathlib import Path

import click

from ops_pipelines.cli._shared import bucket_options, identity_option, say_bad, show_dry
from ops_pipelines.cli.models import restore_model
from ops_pipelines.cli.output import Context, errors_in, json_option, show_json, show_rows
from ops_pipelines.cli.progress import progress
from ops_pipelines.errors import UsageError
from ops_pipelines.wiring import bucket, models, snapshots
from ops_pipelines.wiring.wishes import Wish


@click.command()
@click.argument("stack")
@click.argument("snapshot")
@click.option("--part", "parts", multiple=True, help="Restore this part only (kind/name); may be repeated.")
@click.option("--into", help="Restore beside the live stack under this name, and switch nothing.")
@click.option("--model", help="Put this one model back into its cache; everything else stays as it is.")
@click.option("--into-cache", help="With --model: another model cache of the stack, of the same layout.")
@click.option(
    "--into-path",
    type=click.Path(path_type=Path, file_okay=False),
    help="With --model: a folder that holds a store of the same layout, or nothing yet.",
)
@click.option(
    "--allow-wrong-secret",
    "allow_wrong",
    multiple=True,
    help="Go on although this secret is not the one of then; may be repeated.",
)
@click.option("--as", "name", help="Restore the one collection under another name, beside its own.")
@click.option("--filter", "rows", default="", help="Only rows of the collection for which this holds.")
@click.option(
    "--partition", "partitions", multiple=True, help="Only rows of this partition; may be repeated."
)
@click.option("--apply", is_flag=True, help="Do it. Without it, the plan is shown and nothing changes.")
@identity_option
@bucket_options
@json_option
@click.pass_obj
def restore(
    context: Context,
    stack: str,
    snapshot: str,
    parts: tuple[str, ...],
    into: str | None,
    model: str | None,
    into_cache: str | None,
    into_path: Path | None,
    allow_wrong: tuple[str, ...],
    name: str | None,
    rows: str,
    partitions: tuple[str, ...],
    apply: bool,
    bucket_url: str | None,
    endpoint: str | None,
    region: str,
    as_json: bool,
) -> int:
    """Put SNAPSHOT back: staged beside what is live, checked, then switched. A plan unless --apply.

    --as, --filter and --partition are for one collection, named by --part: its rows under another name, or some of
    them (`year >= 2024 and lang == "de"`), with --as or --into.

    With --bucket, the parts are written as files below the folder that --into names.
    """
    wanted = list(parts) or None
    only = snapshots.Only(snapshots.Choice(rows, partitions), name)
    wish = Wish(parts, into, only, model, into_cache, into_path, allow_wrong)
    wish.refuse(files=bucket_url is not None)
    if model is not None:
        if bucket_url:
            opened = bucket.open_bucket(bucket_url, endpoint, region, context.settings)
            return restore_model(
                bucket.held(opened, stack, snapshot), None, wish, apply=apply, as_json=as_json
            )
        site = context.site(stack)
        return restore_model(models.held(site, snapshot), site, wish, apply=apply, as_json=as_json)
    if bucket_url:
        opened = bucket.open_bucket(bucket_url, endpoint, region, context.settings)
        return _restore_files(opened, stack, snapshot, wish, apply=apply, as_json=as_json)
    site = context.site(stack)
    plan = snapshots.plan_restore(site, snapshot, parts=wanted, into=into, only=only, allow_wrong=allow_wrong)
    if not apply:
        show_dry(plan, as_json=as_json)
        return 0
    with progress() as report:
        result = snapshots.restore(
            site,
            snapshot,
            parts=wanted,
            into=into,
            only=only,
            by="command line",
            progress=report,
            allow_wrong=allow_wrong,
        )
    findings = [finding for one in result.parts for finding in one.findings]
    if as_json:
        show_json(result)
        return 1 if errors_in(findings) else 0
    show_rows(
        ({"part": one.part, "place": one.place, "old one kept": one.kept} for one in result.parts),
        empty="nothing was restored",
    )
    for words in result.skipped:
        click.echo(f"! {words}")
    say_bad(findings)
    if any(one.kept for one in result.parts):
        click.echo(f"what is kept: `ops-pipelines kept {stack}` lists it, and removes it when you say so")
    click.echo(f"{snapshot} is {'live' if result.switched else 'beside the live stack'}")
    return 1 if errors_in(findings) else 0


def _restore_files(
    opened: bucket.OpenBucket,
    stack: str,
    snapshot: str,
    wish: Wish,
    *,
    apply: bool,
    as_json: bool,
) -> int:
    wanted, into, allow_wrong = list(wish.parts) or None, wish.into, wish.allow_wrong
    if into is None:
        raise UsageError(
            "a restore from the bucket alone needs a folder", remedy="name one: --into ./restored"
        )
    place = Path(into)
    plan = bucket.plan_restore(opened, stack, snapshot, parts=wanted, into=place, allow_wrong=allow_wrong)
    if not apply:
        show_dry(plan, as_json=as_json)
        return 0
    with progress() as report:
        written = bucket.restore(
            opened, stack, snapshot, parts=wanted, into=place, allow_wrong=allow_wrong, progress=report
        )
    if as_json:
        show_json({"snapshot": snapshot, "into": into, "parts": written})
    else:
        click.echo(f"{snapshot} is in {into}")
    return 0


COMMANDS = (restore,)
