"""What registry and hub said of a model's tag, how long that holds, and how it is told without asking them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ops_pipelines.policy.models import WantedModel
from ops_pipelines.policy.plan import Finding

ASK_AGAIN = timedelta(hours=20)
"""An answer this old is asked for anew: once a day, by an observation that comes hourly or nightly."""
HOLDS = timedelta(days=3)
"""An answer older than this says nothing about today."""


@dataclass(frozen=True)
class Answer:
    """What was found of one model, and of what."""

    asked: str
    """`asked_as` of the declaration that it was asked for."""
    held: str
    """Revision that the cache held then."""
    finding: Finding
    at: datetime
    """When its source answered; where it did not, when it was asked."""


def asked_as(model: WantedModel) -> str:
    """What of a declaration an answer depends on."""
    return f"{model.scheme}:{model.reference}@{model.revision}#{model.pin or ''}"


def moves(model: WantedModel, layout: str) -> bool:
    """Whether a model has a source whose tag can move: a package has none, and of a plain folder no commit is known."""
    return model.scheme != "package" and layout != "directory"


def still_holds(answer: Answer | None, model: WantedModel, held: str, now: datetime) -> bool:
    """Whether a source need not be asked again yet."""
    if answer is None or answer.finding.ok is None:
        return False
    return (answer.asked, answer.held) == (asked_as(model), held) and now - answer.at < ASK_AGAIN


def settled(before: Answer | None, now: Answer) -> Answer:
    """An answer beside the one before: a move that was seen stays seen while the source is silent."""
    if now.finding.ok is not None or before is None or before.finding.ok is not False:
        return now
    if (before.asked, before.held) != (now.asked, now.held):
        return now
    silent = f" (seen {before.at:%Y-%m-%d}; its source does not answer now)"
    message = before.finding.message.partition(" (seen ")[0] + silent
    return replace(before, finding=replace(before.finding, message=message))


def notes(
    wanted: Mapping[str, WantedModel], answers: Mapping[str, Answer], now: datetime, stack: str
) -> tuple[str, ...]:
    """Lines for a person who asks something else: each tag that moved, and one for all of which it is not known."""
    moved: list[str] = []
    unknown: list[str] = []
    for key, model in wanted.items():
        answer = answers.get(key)
        if answer is None or answer.asked != asked_as(model):
            unknown.append(model.name)
        elif answer.finding.ok is False:
            moved.append(answer.finding.message)
        elif answer.finding.ok is None or now - answer.at > HOLDS:
            unknown.append(model.name)
    lines = list(dict.fromkeys(moved))
    if unknown:
        lines.append(
            f"not known whether the tag of {_listed(list(dict.fromkeys(unknown)))} has moved: asked by the "
            f"observation of {stack}, and by `ops-pipelines models sources {stack}`"
        )
    return tuple(lines)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
