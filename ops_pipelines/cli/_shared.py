"""What the verbs of snapshots share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ops_pipelines.cli.output import Context, show_plan
from ops_pipelines.policy.plan import Finding, Plan


def bucket_options(command: Any) -> Any:
    """`--bucket s3://NAME/PREFIX --endpoint URL`: work from the bucket alone, without a stack file."""
    for option in (
        click.option("--region", default="us-east-1", show_default=True, help="Region of --bucket."),
        click.option("--endpoint", help="URL of the S3 store of --bucket."),
        click.option(
            "--bucket",
            "bucket_url",
            help="s3://NAME[/PREFIX]: use this bucket, with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
            "of the environment, and no stack file.",
        ),
    ):
        command = option(command)
    return command


def identity_option(command: Any) -> Any:
    """`--identity FILE`: the private age keys that open encrypted parts."""

    def take(context: click.Context, option: click.Parameter, path: Path | None) -> None:
        del option
        if path is not None:
            found = context.find_object(Context)
            if found is not None:
                found.settings = replace(found.settings, age_identity=path)

    return click.option(
        "--identity",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        expose_value=False,
        callback=take,
        help="File with private age keys, for encrypted parts. Without: OPS_AGE_IDENTITY.",
    )(command)


def say_bad(findings: Iterable[Finding]) -> None:
    """Findings that are not good, each with what mends it."""
    for finding in findings:
        if finding.ok is not True:
            click.echo(f"! {finding.subject}: {finding.message}")
            click.echo(f"  {finding.remedy}")


def show_dry(plan: Plan, *, as_json: bool) -> None:
    """A plan that is not carried out, and how it would be."""
    show_plan(plan, as_json=as_json)
    click.echo("Nothing was changed. Add --apply to do it.", err=True)
