"""Findings that a comment in the file sets aside, each with its reason.

`# ops-lint: ignore OPS-C201 because the image is built here` holds for the line that it stands on, or, on a line of
its own, for the next line that is no comment. Several codes are divided by commas.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

NO_REASON = "OPS-S001"
UNKNOWN = "OPS-S002"
IDLE = "OPS-S003"
RULES = {
    NO_REASON: "A suppression without a reason: nobody can tell later whether it still holds.",
    UNKNOWN: "A suppression of a rule that does not exist: it sets nothing aside.",
    IDLE: "A suppression where nothing is found: the fault is gone, and the comment may go too.",
}

_COMMENT = re.compile(
    r"#\s*ops-lint:\s*ignore\b[ \t]*(?P<rules>(?!because\b)[\w-]+(?:\s*,\s*[\w-]+)*)?"
    r"(?:\s*\bbecause\b[ \t]*(?P<reason>.*))?"
)


@dataclass(frozen=True)
class Suppression:
    """One comment that sets findings aside."""

    line: int
    """Where it stands, from 1."""
    column: int
    covers: frozenset[int]
    """The lines whose findings it sets aside."""
    rules: tuple[str, ...]
    reason: str
    """Empty where none is given: it then sets nothing aside."""

    def holds(self, rule: str, line: int) -> bool:
        """Whether it sets a finding of a rule at a line aside."""
        return bool(self.reason) and line in self.covers and rule in self.rules


def suppressions(text: str) -> Iterator[Suppression]:
    """The suppressions in a file's text."""
    if "ops-lint" not in text:
        return
    lines = text.splitlines()
    for index, line in enumerate(lines):
        match = _COMMENT.search(line)
        if match is None:
            continue
        alone = not line[: match.start()].strip()
        after = (at for at in range(index + 1, len(lines)) if not _comment(lines[at]))
        covered = (next(after, index) if alone else index) + 1
        rules = tuple(word.strip() for word in (match["rules"] or "").split(",") if word.strip())
        reason = (match["reason"] or "").strip()
        yield Suppression(index + 1, match.start() + 1, frozenset({covered, index + 1}), rules, reason)


def _comment(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")
