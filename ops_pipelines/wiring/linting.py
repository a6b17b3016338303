"""Lint of files: what the loader, the links and the rules have to say, each with its place in the file."""

from __future__ import annotations

import multiprocessing
import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from ops_pipelines.errors import DeclarationError
from ops_pipelines.policy.lint import RULES, SEVERITIES, LintFinding, Severity, lint_stack
from ops_pipelines.policy.lint_compose import COMPOSE_RULES, UNREADABLE, lint_compose
from ops_pipelines.policy.lint_kube import KUBE_RULES, KUBE_UNREADABLE, NOT_RENDERED, KubeFinding
from ops_pipelines.policy.plan import Finding
from ops_pipelines.policy.suppressions import IDLE, NO_REASON, UNKNOWN, Suppression, suppressions
from ops_pipelines.policy.suppressions import RULES as SUPPRESSION_RULES
from ops_pipelines.settings import Settings
from ops_pipelines.stack.loader import LoadedStack, Position, Problem, collector_at_rest, load_stack
from ops_pipelines.wiring.lint_charts import lint_chart, lint_manifests
from ops_pipelines.wiring.lint_files import Unit, read_compose_file, units_below
from ops_pipelines.wiring.lint_files import units as _units
from ops_pipelines.wiring.site import Site, linked

DECLARATION = "declaration"
"""Name of the rule that a stack file can be loaded at all."""
KNOWN_RULES = frozenset({
    DECLARATION, UNREADABLE, *SUPPRESSION_RULES, *(rule.name for rule in RULES), *(rule.code for rule in COMPOSE_RULES),
    KUBE_UNREADABLE, NOT_RENDERED, *(rule.code for rule in KUBE_RULES),
})  # fmt: skip
_UNSET = re.compile(r"environment variable (\w+) is not set")
_STAND_IN = "unset"
_SHARE = 64
"""Files that are worth a process of their own."""


@dataclass(frozen=True)
class Line:
    """One finding as lint prints it."""

    rule: str
    severity: Severity
    file: str
    line: int
    column: int
    path: str
    """Dotted path of the value; empty for the file as a whole."""
    found: str
    breaks: str
    remedy: str
    profiles: tuple[str, ...] = ()
    """Forms of the stack in which it is so; empty where it is so in all of them."""
    suppressed: str = ""
    """Why a comment in the file sets it aside; empty where none does."""

    @property
    def message(self) -> str:
        """Place, what was found and what it breaks."""
        where = f"{self.path}: " if self.path else ""
        return f"{self.file}:{self.line}:{self.column}: {where}{self.found}; {self.breaks}"

    @property
    def finding(self) -> Finding:
        """The same as a result of a check. A remark (`info`) is not held against the stack."""
        return Finding(self.rule, self.severity == "info", self.message, self.remedy, self.severity)


def lint(site: Site) -> tuple[Finding, ...]:
    """Findings on one stack as it is loaded, in its profile; one good finding where there is nothing to say."""
    lines = [*_warnings(site.loaded.warnings), *_rules(site.loaded)]
    good = Finding("lint", True, f"{len(RULES)} rules found nothing wrong", severity="info")
    found = tuple(line.finding for line in lines)
    return found if any(each.ok is not True for each in found) else (good, *found)


@collector_at_rest()
def lint_paths(paths: Sequence[Path], settings: Settings) -> tuple[Line, ...]:
    """Findings on every stack file, Compose file, manifest and chart among some files and folders, the worst first.

    Stack files are looked at in every profile. A variable of the environment that is not set here is no fault of
    the file: it is a remark, and the file is read on as if it held a word. What a comment sets aside is among the
    findings, with its reason. Raises UsageError for a path that is not there, or a folder without such files.
    """
    units = tuple(dict.fromkeys(unit for path in paths for unit in _units(path)))
    lines = [line for found in _each(units, settings) for line in found]
    files = dict.fromkeys([*(str(unit.file) for unit in units), *(line.file for line in lines)])
    marked = with_suppressions(dict.fromkeys(lines), files)
    return tuple(sorted(marked, key=lambda one: SEVERITIES.index(one.severity)))


def _each(units: Sequence[Unit], settings: Settings) -> Iterable[list[Line]]:
    """Findings on each unit; many are shared out among processes where the system can fork."""
    many = min(os.cpu_count() or 1, len(units) // _SHARE)
    if many < 2 or not hasattr(os, "fork") or threading.active_count() > 1:
        return [_unit(unit, settings) for unit in units]
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(many, mp_context=context) as pool:
        return list(pool.map(partial(_unit, settings=settings), units, chunksize=_SHARE // 4))


def _unit(unit: Unit, settings: Settings) -> list[Line]:
    """Findings on what is looked at as a whole."""
    match unit.kind:
        case "compose":
            return lint_compose_file(unit.file)
        case "manifests":
            return _kube_lines(lint_manifests([unit.file, *unit.beside]))
        case "chart":
            return _kube_lines(lint_chart(unit.file, settings.environ))
        case _:
            return _file(unit.file, settings)


def _kube_lines(found: Iterable[KubeFinding]) -> list[Line]:
    told: dict[tuple[object, ...], Line] = {}
    for each in found:
        hit = each.hit
        line = Line(each.code, hit.severity, *hit.at, hit.path, hit.found, hit.breaks, hit.remedy)
        told.setdefault((each.code, *hit.at, hit.path), line)
    return list(told.values())


def stack_files(settings: Settings) -> tuple[Path, ...]:
    """The folders of the settings that hold files to look at, relative to where the user stands."""
    here = Path.cwd()
    folders = [folder for folder in settings.stacks_dirs if folder.is_dir() and units_below(folder)]
    return tuple(folder.relative_to(here) if folder.is_relative_to(here) else folder for folder in folders)


def at_or_over(lines: Iterable[Line], severity: Severity) -> bool:
    """Whether any finding is at least as bad as that."""
    worst = SEVERITIES.index(severity)
    return any(SEVERITIES.index(line.severity) <= worst for line in lines if not line.suppressed)


def _file(file: Path, settings: Settings) -> list[Line]:
    """Findings on one file in all its profiles; the same finding in several is told once."""
    chosen: tuple[str | None, ...] = _profiles(file, settings) or (None,)
    merged: dict[Line, list[str]] = {}
    for profile in chosen:
        for line in _form(file, profile, settings.environ):
            merged.setdefault(line, []).append(profile or "")
    return [
        replace(line, profiles=tuple(named) if len(named) < len(chosen) else ())
        for line, named in merged.items()
    ]


def lint_compose_file(file: Path) -> list[Line]:
    """Findings on one Compose file; one fault that several services inherit is told once."""
    told: dict[tuple[object, ...], Line] = {}
    for each in lint_compose(read_compose_file(file)):
        hit = each.hit
        line = Line(each.code, hit.severity, *hit.at, hit.path, hit.found, hit.breaks, hit.remedy)
        told.setdefault((each.code, *hit.at), line)
    return list(told.values())


def _profiles(file: Path, settings: Settings) -> tuple[str, ...]:
    """Names of a file's profiles, as far as it can be read."""
    try:
        return load_stack(file, environ=_Filled(settings.environ)).profiles
    except DeclarationError:
        pass
    try:
        raw: Any = yaml.safe_load(file.read_bytes())
        names = raw.get("profiles") or {}
        return tuple(str(name) for name in names)
    except (OSError, ValueError, RecursionError, AttributeError, TypeError, yaml.YAMLError):
        return ()


def _form(file: Path, profile: str | None, environ: Mapping[str, str]) -> Iterator[Line]:
    """Findings on one form of a stack."""
    try:
        loaded = linked(load_stack(file, profile=profile, environ=environ))
    except DeclarationError as error:
        problems = [each for each in error.problems if isinstance(each, Problem)]
        unset = [each for each in problems if _UNSET.search(each.found)]
        if not unset:
            yield from (_problem(each, each.severity) for each in problems)
            return
        yield from (_problem(each, "info") for each in unset)
        places = {each.at for each in unset}
        # A word stands in for each of them; what a word cannot stand for is not held against the file.
        yield from (
            line
            for line in _form(file, profile, _Filled(environ))
            if Position(line.file, line.line, line.column) not in places
        )
        return
    yield from _warnings(loaded.warnings)
    yield from _rules(loaded)


class _Filled(dict[str, str]):
    """An environment in which every variable is set."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> str:
        return _STAND_IN

    def get(self, name: str, default: Any = None) -> Any:
        """The value; where the file has a default of its own, that counts as before."""
        return self[name] if dict.__contains__(self, name) or default is not None else None


def with_suppressions(lines: Iterable[Line], files: Iterable[str]) -> Iterator[Line]:
    """The findings, those marked that a comment sets aside, and what is wrong with the comments themselves."""
    comments = {file: tuple(suppressions(_text(file))) for file in files}
    used: set[tuple[str, int]] = set()
    for line in lines:
        by = next((one for one in comments.get(line.file, ()) if one.holds(line.rule, line.line)), None)
        if by is not None:
            used.add((line.file, by.line))
        yield replace(line, suppressed=by.reason) if by else line
    for file, found in comments.items():
        for one in found:
            yield from _about(file, one, used=(file, one.line) in used)


def _about(file: str, one: Suppression, *, used: bool) -> Iterator[Line]:
    """What is wrong with a comment that sets findings aside."""
    unknown = [rule for rule in one.rules if rule not in KNOWN_RULES]
    if not one.rules or not one.reason:
        lacking = "a rule" if not one.rules else "a reason"
        remedy = "write `# ops-lint: ignore RULE because REASON`"
        words = (f"a suppression without {lacking}", "it sets nothing aside", remedy)
        yield Line(NO_REASON, "error", file, one.line, one.column, "", *words)
    elif unknown:
        words = (
            f"{', '.join(unknown)}, which is no rule",
            "it sets nothing aside",
            "see `ops-pipelines lint --rules`",
        )
        yield Line(UNKNOWN, "warning", file, one.line, one.column, "", *words)
    elif not used:
        words = ("a suppression where nothing is found", "it hides what comes later", "take the comment out")
        yield Line(IDLE, "info", file, one.line, one.column, "", *words)


def _text(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8-sig", errors="replace")
    except OSError:
        return ""


def _warnings(problems: Iterable[Problem]) -> list[Line]:
    return [_problem(each, "warning") for each in problems]


def _problem(problem: Problem, severity: Severity) -> Line:
    place, words = problem.at, (problem.found, problem.breaks, problem.remedy)
    return Line(DECLARATION, severity, *place, problem.where, *words)


def _rules(loaded: LoadedStack) -> list[Line]:
    return [_placed(loaded, each) for each in lint_stack(loaded.stack)]


def _placed(loaded: LoadedStack, finding: LintFinding) -> Line:
    found = finding.found
    place = loaded.position(found.path)
    return Line(finding.rule, found.severity, *place, found.path, found.found, found.breaks, found.remedy)
