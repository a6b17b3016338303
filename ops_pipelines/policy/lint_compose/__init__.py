"""Lint of Compose files, anybody's: the faults of deployment guides that such a file can show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ops_pipelines.policy.lint.rule import SEVERITIES
from ops_pipelines.policy.lint_compose import cards, care, doors, health, images, servers, structure
from ops_pipelines.policy.lint_compose.rule import ComposeRule, Hit
from ops_pipelines.stack.compose_file import ComposeFile

__all__ = ["COMPOSE_RULES", "GROUPS", "UNREADABLE", "ComposeFinding", "ComposeRule", "Hit", "lint_compose"]

UNREADABLE = "OPS-C100"
"""Code of what cannot be read: syntax, keys twice, an `extends` that leads nowhere."""
GROUPS: Mapping[str, tuple[str, tuple[ComposeRule, ...]]] = {
    each.__name__.rpartition(".")[2]: ((each.__doc__ or "").strip(), each.RULES)
    for each in (structure, images, doors, servers, health, cards, care)
}
"""Name of a group -> what it is about, and its rules."""
COMPOSE_RULES: tuple[ComposeRule, ...] = tuple(rule for _, rules in GROUPS.values() for rule in rules)


@dataclass(frozen=True)
class ComposeFinding:
    """What one rule found."""

    code: str
    hit: Hit


def lint_compose(
    file: ComposeFile, rules: tuple[ComposeRule, ...] = COMPOSE_RULES
) -> tuple[ComposeFinding, ...]:
    """All that is wrong with a Compose file: what cannot be read, and what the rules find; the worst first."""
    unread = [
        ComposeFinding(UNREADABLE, Hit(each.at, each.where, each.found, each.breaks, each.remedy))
        for each in file.problems
    ]
    found = [ComposeFinding(rule.code, hit) for rule in rules for hit in rule.look(file)]
    return tuple(sorted((*unread, *found), key=lambda one: SEVERITIES.index(one.hit.severity)))
