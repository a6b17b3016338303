"""What the documents name is there: links, images, verbs, options, variables, samples of stack files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import click
import pytest
import yaml

from ops_pipelines.cli.root import cli
from ops_pipelines.stack.loader import load_stack

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]
)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_VERB = re.compile(r"ops-pipelines ((?:[a-z]+)(?: explain)?)\b([^`|\n]*)")
_VARIABLE = re.compile(r"\bOPS_[A-Z0-9_]+\b")


def shown(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def words(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", words(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in _LINK.findall(_FENCE.sub("", words(page))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / unquote(path)).resolve() if path else page
        if not place.exists() or (anchor and place.suffix == ".md" and anchor not in anchors(place)):
            broken.append(target)
    assert not broken


def commands() -> Iterator[tuple[str, str, str]]:
    """(page, verb, rest) of each command that is named as code."""
    for page in PAGES:
        text = words(page)
        code = [body for _, body in _FENCE.findall(text)] + re.findall(r"`([^`\n]+)`", _FENCE.sub("", text))
        for piece in code:
            for verb, rest in _VERB.findall(piece.replace("\\\n", " ")):
                yield shown(page), verb, rest


def test_every_verb_and_option_exists() -> None:
    named = set(commands())
    assert len({verb for _, verb, _ in named}) > 10
    unknown = []
    for page, verb, rest in named:
        command: click.Command | None = cli
        steps = f"{verb} {rest}".split()
        while isinstance(command, click.Group) and steps:
            context, default = click.Context(command), getattr(command, "default", "")
            named_one = steps[0] in command.list_commands(context) or not default
            command = command.get_command(context, steps.pop(0) if named_one else default)
        if command is None:
            unknown.append((page, verb))
            continue
        known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
        unknown += [
            (page, f"{verb} {option}")
            for option in re.findall(r"(?<!\S)--[a-z-]+", rest)
            if option not in known
        ]
    assert not unknown


def test_every_variable_is_known_to_the_code() -> None:
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in ("ops_pipelines", "deploy", "examples", "tests", "tools")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".yaml") and path != Path(__file__)
    ) + words(ROOT / "Makefile") + words(ROOT / "dagster.yaml")  # fmt: skip
    unknown = {
        (shown(page), name) for page in PAGES for name in _VARIABLE.findall(words(page)) if name not in code
    }
    assert not unknown


def test_whole_stack_files_load(tmp_path: Path) -> None:
    found = [
        (shown(page), body)
        for page in PAGES
        for language, body in _FENCE.findall(words(page))
        if language == "yaml" and re.search(r"^stack: ", body, re.MULTILINE)
    ]
    assert len(found) >= 2
    for number, (_, body) in enumerate(found):
        path = tmp_path / f"s{number}.stack.yaml"
        path.write_text(body, encoding="utf-8")
        load_stack(path, environ={"OPS_HOME": str(tmp_path)})


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_every_sample_of_yaml_is_yaml(page: Path) -> None:
    for language, body in _FENCE.findall(words(page)):
        if language == "yaml":
            yaml.safe_load(body)


def test_nothing_of_a_workplace_is_named() -> None:
    told = re.compile(r"/work/|/tmp/h\w+|/root/|localhost:\d+/simple")
    assert not [shown(page) for page in PAGES if told.search(words(page))]


def test_the_drills_questions_are_answered() -> None:
    """The documents are the corpus of the first run: each of Obelisk's questions has a heading or a phrase here."""
    asked = yaml.safe_load(words(ROOT / "deploy" / "obelisk" / "stack.yaml"))["drill"]["questions"]
    text = " ".join(" ".join(words(page).split()).lower() for page in PAGES)
    missing = [question for question in asked if question.rstrip("?").lower() not in text]
    assert not missing
