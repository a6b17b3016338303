"""What the verbs of snapshots share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from ops_pipelines.cli.output import show_plan
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
