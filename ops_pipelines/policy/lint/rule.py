"""What a lint rule is: a name, the faults it looks for, and a pure function from a stack to findings.

Fault numbers are those of docs/reference/lint.md, where each is told with its story. A rule that reads other
files (Compose, Helm) will be a second kind with another argument and the same findings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from ops_pipelines.stack.components import Component
from ops_pipelines.stack.model import Stack

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
"""Worst first."""


@dataclass(frozen=True)
class Found:
    """One thing that a rule has to say."""

    path: str
    """Dotted path of the value in the declaration."""
    found: str
    breaks: str
    remedy: str
    severity: Severity = "error"


Look = Callable[[Stack], Iterable[Found]]


@dataclass(frozen=True)
class Rule:
    """One rule. Its story is the docstring of `look`."""

    name: str
    faults: tuple[int, ...]
    look: Look

    @property
    def about(self) -> str:
        """What it looks for, in one sentence."""
        return (self.look.__doc__ or "").strip().partition("\n")[0]


def flag(component: Component, *names: str) -> str | None:
    """Value of an option of a command: `--name=value` or `--name value`; '' for one without a value."""
    words = component.command
    for index, word in enumerate(words):
        option, given, value = word.partition("=")
        if option in names:
            follows = words[index + 1] if index + 1 < len(words) else "-"
            return value if given else "" if follows.startswith("-") else follows
    return None


def flag_path(name: str, component: Component, *options: str) -> str:
    """Dotted path of the word of a command that gives an option."""
    index = next(i for i, word in enumerate(component.command) if word.partition("=")[0] in options)
    return f"components.{name}.command.{index}"


def started(stack: Stack) -> Mapping[str, Component]:
    """Components that this stack starts itself; those with an `address` run elsewhere."""
    return {name: each for name, each in stack.components.items() if each.address is None}


def host_of(url: str) -> str:
    """Name of the host in a URL, lower case; nothing where there is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def port_in(url: str) -> int | None:
    """Port that a URL names, or that its scheme stands for."""
    try:
        parts = urlsplit(url)
        return parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return None
