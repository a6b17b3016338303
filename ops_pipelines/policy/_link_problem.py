"""One reference that does not resolve, and the words that it is told in."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from ops_pipelines.stack.model import Stack


@dataclass(frozen=True)
class LinkProblem:
    """What is wrong between two values of a declaration."""

    path: str
    """Dotted path of the value to change."""
    found: str
    breaks: str
    remedy: str
    severity: Literal["error", "warning"] = "error"


def known_words(word: str, known: Iterable[str], what: str) -> str:
    """`did you mean ...?`, or what is known; `what` names the kind of thing in the plural."""
    names = list(known)
    near = difflib.get_close_matches(word, names, 1)
    if near:
        return f"did you mean `{near[0]}`?"
    return f"{what}: {', '.join(names) or 'none'}"


def no_secret(stack: Stack, path: str, secret: str) -> Iterator[LinkProblem]:
    """A problem where a secret is named that is not declared."""
    if secret not in stack.secrets:
        remedy = known_words(secret, stack.secrets, "declared under `secrets`")
        yield LinkProblem(path, f"no secret `{secret}`", "its value could not be had", remedy)


def no_component(stack: Stack, path: str, name: str, breaks: str) -> LinkProblem:
    """The problem that a component is named that is not declared."""
    return LinkProblem(
        path, f"no component `{name}`", breaks, known_words(name, stack.components, "components")
    )
