"""How answers are shown: tables for people, one JSON document for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table

from ops_pipelines.errors import DeclarationError, OpsError
from ops_pipelines.policy.plan import Finding, Plan
from ops_pipelines.policy.words import size_in_words
from ops_pipelines.settings import Settings
from ops_pipelines.wiring.site import Fleet, Site, load_fleet, site_with_profile

Command = TypeVar("Command", bound=Callable[..., Any])
_SIGNS = {True: "good", False: "BAD", None: "unknown"}
_MILD = {"warning": "warning", "info": "note"}


@dataclass
class Context:
    """What every command is given."""

    settings: Settings

    @cached_property
    def fleet(self) -> Fleet:
        """Every stack that is declared."""
        return load_fleet(self.settings)

    def site(self, stack: str, profile: str | None = None) -> Site:
        """A stack by name, in another of its forms where `profile` is given."""
        site = self.fleet.site(stack)
        return site if profile is None else site_with_profile(site, profile)


class DefaultGroup(click.Group):
    """A group whose first word may be a stack's name: the verb `default` is then meant."""

    def __init__(self, *args: Any, default: str = "", **more: Any) -> None:
        super().__init__(*args, **more)
        self.default = default

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `default` first, unless a verb or `--help` is."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = [self.default, *args]
        return super().parse_args(ctx, args)


def json_option(command: Command) -> Command:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Answer with one JSON document.")(command)


def profile_option(command: Command) -> Command:
    """`--profile`."""
    return click.option("--profile", help="Take this form of the stack, not the chosen one.")(command)


def console() -> Console:
    """Standard output, for tables. Wide where nobody looks (a pipe), so that nothing is cut."""
    width = None if sys.stdout.isatty() else 200
    # What is shown is data: brackets of a path are no markup, and :colons: no picture.
    return Console(width=width, highlight=False, soft_wrap=True, markup=False, emoji=False)


def show_json(value: Any) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(value, indent=2, default=_plain, ensure_ascii=False))


def _plain(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return asdict(value)
    return str(value)


def show_rows(rows: Iterable[Mapping[str, Any]], *, empty: str) -> None:
    """Rows as a table; `empty` where there are none."""
    rows = list(rows)
    if not rows:
        click.echo(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in rows[0]:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    console().print(table)


def show_plan(plan: Plan, *, as_json: bool) -> None:
    """A plan, step by step."""
    if as_json:
        show_json(plan)
        return
    click.echo(plan.title)
    show_rows(
        (
            {
                "action": step.verb,
                "what": step.subject,
                "detail": step.detail,
                "moves": size_in_words(step.size) if step.size else "",
            }
            for step in plan.steps
        ),
        empty="nothing would change",
    )
    for warning in plan.warnings:
        click.echo(f"! {warning}")


def errors_in(findings: Sequence[Finding]) -> list[Finding]:
    """Findings that keep a thing from being good: bad or unknown, and more than a warning."""
    return [finding for finding in findings if finding.ok is not True and finding.severity == "error"]


def show_findings(findings: Sequence[Finding], *, as_json: bool, good: str) -> int:
    """Findings, the bad ones first, with what mends them. Returns the exit code: 1 where any is an error."""
    bad = errors_in(findings)
    if as_json:
        show_json({"good": not bad, "findings": [asdict(finding) for finding in findings]})
        return 1 if bad else 0
    show_rows(
        (
            {"state": _sign(one), "what": one.subject, "found": one.message}
            for one in sorted(findings, key=lambda one: (one.ok is True, one.severity != "error"))
        ),
        empty="nothing was looked at",
    )
    for finding in findings:
        if finding.remedy and finding.ok is not True:
            click.echo(f"  {finding.subject}: {finding.remedy}")
    click.echo(good if not bad else f"{len(bad)} of {len(findings)} are not good")
    return 1 if bad else 0


def _sign(finding: Finding) -> str:
    if finding.ok is False:
        return _MILD.get(finding.severity, _SIGNS[False])
    return _SIGNS[finding.ok]


def show_error(error: OpsError, *, as_json: bool) -> None:
    """An error on standard error, or as a JSON document on standard output."""
    if as_json:
        problems = [str(p) for p in error.problems] if isinstance(error, DeclarationError) else []
        show_json(
            {
                "error": type(error).__name__,
                "message": error.message,
                "remedy": error.remedy,
                "problems": problems,
            }
        )
    click.echo(f"{error.message}", err=True)
    if error.remedy:
        click.echo(f"  What to do: {error.remedy}", err=True)
