"""Verbs of declarations: stacks, schema, lint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ops_pipelines.cli.output import Context, json_option, show_json, show_rows
from ops_pipelines.policy.lint import RULES, SEVERITIES, Severity
from ops_pipelines.stack.loader import BrokenStack
from ops_pipelines.stack.schema import stack_schema
from ops_pipelines.wiring import deployments, linting
from ops_pipelines.wiring.site import Site


@click.command()
@json_option
@click.pass_obj
def stacks(context: Context, as_json: bool) -> int:
    """List the stacks that are declared, and what is wrong with those that cannot be loaded."""
    fleet = context.fleet
    rows = [_row(site) for site in fleet.sites()]
    broken = [_broken(each) for each in fleet.broken]
    folders = [f"{one.file}: {one.found}; {one.breaks}; {one.remedy}" for one in fleet.problems]
    code = 1 if broken or folders else 0
    if as_json:
        show_json({"stacks": rows, "broken": broken, "problems": folders})
        return code
    show_rows(
        (
            {
                "stack": row["stack"],
                "profile": row["profile"],
                "profiles": ", ".join(row["profiles"]),
                "target": row["target"],
                "owners": ", ".join(row["owners"]),
                "acted on here": "yes" if row["supported"] else "not yet",
                "warnings": len(row["warnings"]) or "",
            }
            for row in rows
        ),
        empty="no stack is declared in " + ", ".join(str(folder) for folder in context.settings.stacks_dirs),
    )
    for words in folders:
        click.echo(f"! {words}")
    for each in broken:
        click.echo(f"\n{each['stack']} ({each['file']}) cannot be loaded:")
        for problem in each["problems"]:
            click.echo(f"  {problem}")
    return code


def _row(site: Site) -> dict[str, Any]:
    return {
        "stack": site.name,
        "description": site.stack.description,
        "file": str(site.loaded.path),
        "profile": site.loaded.profile,
        "profiles": list(site.loaded.profiles),
        "target": site.stack.target.kind,
        "owners": list(site.stack.owners),
        "supported": deployments.supported(site),
        "warnings": [str(problem) for problem in site.loaded.warnings],
    }


def _broken(broken: BrokenStack) -> dict[str, Any]:
    problems = [str(problem) for problem in broken.problems]
    return {"stack": broken.name, "file": str(broken.path), "problems": problems}


@click.command()
def schema() -> None:
    """Print the JSON Schema of a stack file, for editors."""
    show_json(stack_schema())


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...", type=click.Path(path_type=Path))
@click.option(
    "--severity",
    type=click.Choice(SEVERITIES),
    default="error",
    show_default=True,
    help="Exit with 1 where anything is found that is as bad as this, or worse.",
)
@click.option("--rules", is_flag=True, help="List the rules instead.")
@json_option
@click.pass_obj
def lint(context: Context, paths: tuple[Path, ...], severity: Severity, rules: bool, as_json: bool) -> int:
    """Look for known faults in stack files, in every profile of each. PATH: files or folders; default: all."""
    if rules:
        _show_rules(as_json)
        return 0
    lines = linting.lint_paths(paths or linting.stack_files(context.settings), context.settings)
    bad = linting.at_or_over(lines, severity)
    if as_json:
        show_json({"good": not bad, "findings": [asdict(line) for line in lines]})
        return 1 if bad else 0
    for line in lines:
        if line.severity == "info" and severity != "info":
            continue
        forms = f" [{', '.join(line.profiles)}]" if line.profiles else ""
        click.echo(f"{line.severity}: {line.message} ({line.rule}){forms}")
        click.echo(f"  {line.remedy}")
    click.echo(_summary(lines, severity))
    return 1 if bad else 0


def _summary(lines: Sequence[linting.Line], severity: Severity) -> str:
    counts = {each: sum(1 for line in lines if line.severity == each) for each in SEVERITIES}
    words = [f"{counts['error']} errors", f"{counts['warning']} warnings", f"{counts['info']} remarks"]
    hidden = "" if severity == "info" or not counts["info"] else " (--severity info shows them)"
    return ", ".join(words) + hidden if lines else f"nothing was found ({len(RULES)} rules)"


def _show_rules(as_json: bool) -> None:
    rows = [{"rule": rule.name, "faults": list(rule.faults), "finds": rule.about} for rule in RULES]
    if as_json:
        show_json(rows)
        return
    show_rows(
        (
            {**row, "faults": ", ".join(str(number) for number in rule.faults)}
            for row, rule in zip(rows, RULES, strict=True)
        ),
        empty="no rules",
    )


COMMANDS = (stacks, schema, lint)
