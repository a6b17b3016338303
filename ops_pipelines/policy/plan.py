"""A plan: what an action would change, computed without changing it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verb = Literal[
    "create", "change", "replace", "start", "stop", "restart", "remove", "keep", "fetch", "switch", "check"
]


@dataclass(frozen=True)
class Step:
    """One line of a plan."""

    verb: Verb
    subject: str
    """What is acted on: `component/embedder`, `collection/obelisk_docs`, `blob/ab12...`."""
    detail: str = ""
    """Why, from what, to what."""
    size: int = 0
    """Bytes that will move."""


@dataclass(frozen=True)
class Plan:
    """The steps of an action, in order."""

    title: str
    steps: tuple[Step, ...]
    warnings: tuple[str, ...] = ()

    @property
    def changes(self) -> tuple[Step, ...]:
        """Steps that change something."""
        return tuple(step for step in self.steps if step.verb not in ("keep", "check"))

    @property
    def empty(self) -> bool:
        """True where nothing would change."""
        return not self.changes


@dataclass(frozen=True)
class Finding:
    """One result of a check, a lint rule, a preflight or a verification."""

    subject: str
    ok: bool | None
    """True good, False bad, None could not be observed: never the same as good."""
    message: str
    remedy: str = ""
    severity: Literal["error", "warning", "info"] = "error"


def failed(findings: tuple[Finding, ...] | list[Finding]) -> list[Finding]:
    """Findings that are not good, the unobserved ones included."""
    return [finding for finding in findings if finding.ok is not True]
