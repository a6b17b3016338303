"""What is wrong with a declaration: one `Problem` for each mistake, with its place and what mends it.

What may be a secret is never echoed: `shown` has the words for a value.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from ops_pipelines.stack._merge import Items, Node, Position, Scalar


@dataclass(frozen=True)
class Problem:
    """One mistake of a declaration: where it stands, what was found, what it breaks, what mends it."""

    file: str
    line: int
    column: int
    where: str
    """Dotted path of the value, empty for the file as a whole."""
    found: str
    breaks: str
    remedy: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        return f"{self.file}:{self.line}:{self.column}: {where}{self.found}; {self.breaks}; {self.remedy}"

    @property
    def at(self) -> Position:
        """Its place."""
        return Position(self.file, self.line, self.column)


def in_order(problems: Iterable[Problem], main: str) -> tuple[Problem, ...]:
    """Problems by line, each once, those of the main file first."""
    unique = dict.fromkeys(problems)
    return tuple(sorted(unique, key=lambda p: (p.file != main, p.file, p.line, p.column, p.where)))


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was most likely meant."""
    by_fold = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word.casefold(), by_fold, n=1)
    return by_fold[close[0]] if close else None


def or_known(word: str, known: Iterable[str]) -> str:
    """`did you mean …?` or, with nothing near, the words that are known."""
    names = sorted(set(known))
    guess = nearest(word, names)
    if guess:
        return f"did you mean `{guess}`?"
    return f"known here: {', '.join(names)}" if names else "nothing is known here; remove it"


# --- what may be shown ----------------------------------------------------------------------------------

_SECRET_KEY = re.compile(
    r"(password|passwd|passphrase|api[_-]?key|(^|[_-])(pwd|token|secret|credentials?)"
    r"|(access|private|secret|master|salt|signing|encryption)[_-]?key)$"
)
# `eos_token` and `cost_per_token` speak of words, `pull_secret` of the name of an object in a cluster.
_HARMLESS_KEY = re.compile(
    r"(^|[_-])((bos|eos|pad|unk|sep|cls|mask|stop|per|first|next|image)[_-]token|(existing|pull|tls)[_-]secret)$"
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_KEY_LIKE = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[\w+=-]{20,}|[\w+/=]{40}|eyJ.*|sk-.*|(hf|gh[a-z])_.*")
SHOWN = 40


@lru_cache(4096)
def names_secret(key: str) -> bool:
    """Whether a key says that its value is a secret (`password`, `OPENAI_API_KEY`, `clientSecret`)."""
    word = _CAMEL.sub("_", key).lower()
    return bool(_SECRET_KEY.search(word)) and not _HARMLESS_KEY.search(word)


def hidden(path: tuple[str, ...]) -> bool:
    """Whether the value at a path must never be echoed."""
    named = [word for word in path if not word.isdecimal()]  # an item of a list goes by the list's key
    return "secrets" in path[:-1] or path == ("secrets",) or bool(named and names_secret(named[-1]))


def showable(node: Node, path: tuple[str, ...]) -> bool:
    """Whether the text of a value may be repeated to a reader."""
    if not isinstance(node, Scalar) or hidden(path) or node.origin is not None:
        return False
    return "://" not in node.text and not _KEY_LIKE.fullmatch(node.text)


def shown(node: Node, path: tuple[str, ...]) -> str:
    """What stands at a path, in words that give no secret away."""
    if not isinstance(node, Scalar):
        return "a list" if isinstance(node, Items) else "a mapping of keys"
    if hidden(path):
        return "a value (not shown)"
    if node.origin is not None:
        return f"the value of `{node.origin}`"
    if node.value is None:
        return "nothing"
    if isinstance(node.value, bool):
        return f"`{str(node.value).lower()}`"
    if isinstance(node.value, int | float):
        return f"the number {node.text}"
    if not showable(node, path):
        return "a text (not shown, as it may hold a secret)"
    return f"the text '{node.text[:SHOWN]}{'…' if len(node.text) > SHOWN else ''}'"
