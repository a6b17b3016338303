"""Lint: the faults of deployment guides that can be seen in a stack's declaration."""

from __future__ import annotations

from dataclasses import dataclass

from ops_pipelines.policy.lint import (
    backups,
    gpus,
    images,
    litellm,
    models,
    ollama,
    places,
    scaling,
    secrets,
    volumes,
)
from ops_pipelines.policy.lint.rule import SEVERITIES, Found, Rule, Severity
from ops_pipelines.stack.model import Stack

__all__ = ["RULES", "SEVERITIES", "Found", "LintFinding", "Rule", "Severity", "lint_stack"]

_THEMES = (images, secrets, ollama, litellm, models, gpus, scaling, backups, volumes, places)
RULES: tuple[Rule, ...] = tuple(rule for theme in _THEMES for rule in theme.RULES)


@dataclass(frozen=True)
class LintFinding:
    """What one rule found in a stack."""

    rule: str
    found: Found


def lint_stack(stack: Stack, rules: tuple[Rule, ...] = RULES) -> tuple[LintFinding, ...]:
    """All that the rules find in a declaration, the worst first, else in the rules' order."""
    found = [LintFinding(rule.name, each) for rule in rules for each in rule.look(stack)]
    return tuple(sorted(found, key=lambda one: SEVERITIES.index(one.found.severity)))
