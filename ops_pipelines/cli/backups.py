"""Verbs of backup: backup, verify, drill, prune."""

from __future__ import annotations

from typing import Any

import click

from ops_pipelines.cli._shared import bucket_options, identity_option, say_bad, show_dry
from ops_pipelines.cli.output import (
    Context,
    errors_in,
    json_option,
    show_findings,
    show_json,
    show_plan,
    show_rows,
)
from ops_pipelines.cli.progress import progress
from ops_pipelines.engines.drill import DrillReport
from ops_pipelines.errors import OpsError, UsageError
from ops_pipelines.policy.words import read_in_words, size_in_words, time_in_words
from ops_pipelines.wiring import bucket, drills, snapshots


@click.command()
@click.argument("stack")
@click.option("--full", is_flag=True, help="Read all content back from the bucket before the commit.")
@json_option
@click.pass_obj
def backup(context: Context, stack: str, full: bool, as_json: bool) -> int:
    """Back up every part of STACK as one verified snapshot. Exits with 1 where it is not whole."""
    site = context.site(stack)
    with progress() as report:
        manifest = snapshots.backup(site, by="command line", progress=report, full=full)
        try:
            findings = snapshots.verify(site, manifest.snapshot, depth="sizes", progress=report)
        except OpsError:
            click.echo(f"the snapshot {manifest.snapshot} was taken, and could not be verified:", err=True)
            raise
    kept = snapshots.kept_findings(site, manifest)
    bad = errors_in(findings)
    if as_json:
        facts = {
            "snapshot": manifest.snapshot,
            "created": manifest.created,
            "bytes": manifest.size,
            "uploaded": manifest.uploaded,
            "questions": len(manifest.questions),
            "parts": [{"part": p.key, "files": len(p.files), "bytes": p.size} for p in manifest.parts],
            "verified": not bad,
            "findings": [finding for finding in (*findings, *kept) if finding.ok is not True],
        }
        show_json(facts)
        return 1 if bad else 0
    show_rows(
        (
            {
                "part": p.key,
                "files": len(p.files),
                "size": size_in_words(p.size),
                "state": p.consistency,
                "read": read_in_words(p),
            }
            for p in manifest.parts
        ),
        empty="no parts",
    )
    click.echo(
        f"snapshot {manifest.snapshot}: {size_in_words(manifest.size)}, "
        f"{size_in_words(manifest.uploaded)} of it new, {'NOT WHOLE' if bad else 'verified'}"
    )
    say_bad((*findings, *kept))
    return 1 if bad else 0


@click.command()
@click.argument("stack")
@click.argument("snapshot")
@click.option(
    "--depth",
    type=click.Choice(["listed", "sizes", "checksums", "restored"]),
    default="checksums",
    show_default=True,
    help="listed: it is there. sizes: with its size and stored digest. checksums: every byte is read. "
    "restored: all of it is restored somewhere harmless and compared.",
)
@bucket_options
@json_option
@click.pass_obj
def verify(
    context: Context,
    stack: str,
    snapshot: str,
    depth: Any,
    bucket_url: str | None,
    endpoint: str | None,
    region: str,
    as_json: bool,
) -> int:
    """Compare SNAPSHOT with what the bucket really holds."""
    with progress() as report:
        if bucket_url and depth == "restored":
            raise UsageError(
                "a snapshot is restored for verification by the stack's own servers, which --bucket does not know",
                remedy="leave --bucket out, or use --depth checksums",
            )
        if bucket_url:
            opened = bucket.open_bucket(bucket_url, endpoint, region, context.settings)
            findings = bucket.verify(opened, stack, snapshot, depth=depth, progress=report)
        else:
            findings = snapshots.verify(context.site(stack), snapshot, depth=depth, progress=report)
    return show_findings(findings, as_json=as_json, good=f"{snapshot} is whole")


@click.command()
@click.argument("stack")
@click.argument("snapshot", required=False)
@click.option("--full", is_flag=True, help="Compare every row and every blob, not a sample.")
@identity_option
@json_option
@click.pass_obj
def drill(context: Context, stack: str, snapshot: str | None, full: bool, as_json: bool) -> int:
    """Restore SNAPSHOT (default: by `drill.pick`) somewhere harmless and prove that it answers as before."""
    with progress() as report:
        result = drills.drill(context.site(stack), snapshot, full=full, progress=report)
    if as_json:
        show_json(result)
        return 0 if result.verdict == "passed" else 1
    show_findings(result.findings, as_json=False, good="every finding is good")
    recall = "not asked" if result.recall is None else f"{result.recall:.3f}"
    click.echo(
        f"drill of {result.snapshot}: {result.verdict}; recall@10 {recall} over {result.questions} questions; "
        f"{_rto(result)}; {_rpo(result)}"
    )
    return 0 if result.verdict == "passed" else 1


def _rto(report: DrillReport) -> str:
    if report.rto is None:
        return f"not all of it was restored ({time_in_words(report.seconds)})"
    return f"{time_in_words(report.rto)} to restore {size_in_words(report.size)}"


def _rpo(report: DrillReport) -> str:
    if report.rpo is None:
        return "the newest snapshot's age is unknown"
    return f"the newest snapshot was {time_in_words(report.rpo)} old"


@click.command()
@click.argument("stack")
@click.option("--apply", is_flag=True, help="Delete. Without it, the plan is shown and nothing changes.")
@json_option
@click.pass_obj
def prune(context: Context, stack: str, apply: bool, as_json: bool) -> None:
    """Delete the snapshots that `backup.keep` lets go, and blobs that nothing names. A plan unless --apply."""
    site = context.site(stack)
    plan = snapshots.prune(site, by="command line") if apply else snapshots.plan_prune(site)
    if apply:
        show_plan(plan, as_json=as_json)
    else:
        show_dry(plan, as_json=as_json)


COMMANDS = (backup, verify, drill, prune)
