"""Verbs of declarations: stacks, schema, lint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import click

from ops_pipelines.cli._sarif import sarif
from ops_pipelines.cli.output import Context, json_option, show_json, show_rows
from ops_pipelines.policy.lint import RULES, SEVERITIES, Severity
from ops_pipelines.policy.lint_compose import COMPOSE_RULES, ComposeRule
from ops_pipelines.policy.lint_kube import KUBE_RULES, KubeRule
from ops_pipelines.policy.suppressions import RULES as SUPPRESSION_RULES
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
@click.option(
    "--format",
    "form",
    type=click.Choice(("text", "json", "sarif")),
    default="text",
    show_default=True,
    help="How to answer. SARIF 2.1.0 is what code hosts and editors read.",
)
@json_option
@click.pass_obj
def lint(
    context: Context, paths: tuple[Path, ...], severity: Severity, rules: bool, form: str, as_json: bool
) -> int:
    """Look for known faults in stack files (in every profile of each), and in anybody's Compose files, Kubernetes
    manifests and Helm charts.

    PATH: files or folders; default: all that lie beside the declared stacks.
    """
    form = "json" if as_json else form
    if rules:
        _show_rules(form == "json")
        return 0
    lines = linting.lint_paths(paths or linting.stack_files(context.settings), context.settings)
    bad = linting.at_or_over(lines, severity)
    if form == "json":
        found = [asdict(line) for line in lines if not line.suppressed]
        aside = [asdict(line) for line in lines if line.suppressed]
        show_json({"good": not bad, "findings": found, "suppressed": aside})
    elif form == "sarif":
        show_json(sarif(lines))
    else:
        _show_lines(lines, severity)
    return 1 if bad else 0


def _show_lines(lines: Sequence[linting.Line], severity: Severity) -> None:
    for line in lines:
        if line.suppressed or (line.severity == "info" and severity != "info"):
            continue
        forms = f" [{', '.join(line.profiles)}]" if line.profiles else ""
        click.echo(f"{line.severity}: {line.message} ({line.rule}){forms}")
        click.echo(f"  {line.remedy}")
    click.echo(_summary(lines, severity))


def _summary(lines: Sequence[linting.Line], severity: Severity) -> str:
    open_ = [line for line in lines if not line.suppressed]
    aside = f", {len(lines) - len(open_)} suppressed" if len(open_) < len(lines) else ""
    counts = {each: sum(1 for line in open_ if line.severity == each) for each in SEVERITIES}
    words = [f"{counts['error']} errors", f"{counts['warning']} warnings", f"{counts['info']} remarks"]
    hidden = "" if severity == "info" or not counts["info"] else " (--severity info shows them)"
    count = len(RULES) + len(COMPOSE_RULES) + len(KUBE_RULES)
    return ", ".join(words) + aside + hidden if open_ else f"nothing was found ({count} rules){aside}"


def _show_rules(as_json: bool) -> None:
    coded: tuple[ComposeRule | KubeRule, ...] = (*COMPOSE_RULES, *KUBE_RULES)
    rows = [{"rule": rule.name, "faults": list(rule.faults), "finds": rule.about} for rule in RULES]
    rows += [
        {"rule": f"{rule.code} {rule.name}", "faults": list(rule.faults), "finds": rule.about}
        for rule in coded
    ]
    rows += [{"rule": code, "faults": [], "finds": about} for code, about in SUPPRESSION_RULES.items()]
    if as_json:
        show_json(rows)
        return
    show_rows(
        (
            {**row, "faults": ", ".join(str(number) for number in cast("list[int]", row["faults"]))}
            for row in rows
        ),
        empty="no rules",
    )


COMMANDS = (stacks, schema, lint)
