"""The verb `doctor`: what of this machine is there and what is missing."""

from __future__ import annotations

from dataclasses import asdict

import click

from ops_pipelines.cli.output import Context, json_option, show_findings, show_json, show_rows
from ops_pipelines.policy.plan import Finding
from ops_pipelines.wiring.bucket import open_bucket
from ops_pipelines.wiring.doctor import examine, examine_bucket


@click.command()
@click.option(
    "--bucket",
    metavar="STACK|s3://NAME[/PREFIX]",
    help="Prove the rights on a bucket by using them: that of STACK, or the one of this address, with "
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the environment.",
)
@click.option("--endpoint", help="URL of the S3 store of --bucket s3://NAME.")
@click.option("--region", default="us-east-1", show_default=True, help="Region of --bucket s3://NAME.")
@json_option
@click.pass_obj
def doctor(context: Context, bucket: str | None, endpoint: str | None, region: str, as_json: bool) -> int:
    """Show what of this machine is there and what is missing, each with how to get it."""
    if bucket is not None:
        if bucket.startswith("s3:"):
            opened = open_bucket(bucket, endpoint, region, context.settings)
            findings = opened.store.probe(opened.layout.root)
        else:
            findings = examine_bucket(context.site(bucket))
        return show_findings(findings, as_json=as_json, good="the bucket grants what is needed")
    findings = examine(context.fleet)
    bad = [finding for finding in findings if finding.ok is not True and finding.severity == "error"]
    if as_json:
        show_json({"good": not bad, "findings": [asdict(finding) for finding in findings]})
    else:
        show_rows(
            ({"state": _state(one), "what": one.subject, "found": one.message} for one in findings), empty=""
        )
        for finding in findings:
            if finding.ok is not True and finding.remedy:
                click.echo(f"  {finding.subject}: {finding.remedy}")
        click.echo("everything that is needed is here" if not bad else f"{len(bad)} are missing or broken")
    return 1 if bad else 0


def _state(finding: Finding) -> str:
    if finding.ok is None:
        return "unknown"
    if finding.ok:
        return "good"
    return {"error": "BAD", "warning": "missing", "info": "optional"}[finding.severity]


COMMANDS = (doctor,)
