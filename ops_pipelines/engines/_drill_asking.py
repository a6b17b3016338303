"""What a drill asks of the restored models: the kept questions, and one answer of each model that was started."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from ops_pipelines.engines.ports import Embedder, Progress
from ops_pipelines.errors import (
    CommandMissing,
    IdentityMissing,
    LeaseLost,
    LimitReached,
    OpsError,
    Refused,
    SecretMissing,
    TargetUnsupported,
    Unreachable,
)
from ops_pipelines.policy.drills import NOT_GENERATED
from ops_pipelines.policy.manifest import Manifest, Question
from ops_pipelines.policy.plan import Finding
from ops_pipelines.policy.recall import Recall, recall_at_k
from ops_pipelines.policy.recall import verdict as recall_verdict


@dataclass(frozen=True)
class Served:
    """What answers for the restored models, and what could not be started."""

    servers: Mapping[str, Embedder] = field(default_factory=dict)
    """Model -> its server, for the kept questions."""
    probes: Mapping[str, Callable[[], str]] = field(default_factory=dict)
    """Model -> asks it for one vector or a few words, and says what came. Raises where it gives none."""
    no_card: Mapping[str, str] = field(default_factory=dict)
    """Model -> why no card could be had for it."""


ServeModels = Callable[[Mapping[str, str]], AbstractContextManager[Served]]
"""Start what answers for the restored models. Given cache name -> place."""

AskAgain = Callable[[Embedder, str, str, str, Sequence[str]], Sequence[Sequence[str | int]]]
"""Ten nearest keys for each text: (server, model, collection, its place, texts)."""

_NOT_TRIED = (
    Unreachable,
    Refused,
    CommandMissing,
    SecretMissing,
    IdentityMissing,
    TargetUnsupported,
    LimitReached,
)
"""Errors that say nothing about the snapshot: somebody did not answer, or something is not here."""

_NO_CARD_REMEDY = "drill it where a card is free: on another machine, or while the live server rests"


@dataclass
class Asked:
    """What came of the questions and the probes."""

    findings: list[Finding] = field(default_factory=list)
    recall: float | None = None
    unloaded: set[str] = field(default_factory=set)
    """Subjects of findings that are unknown for want of a card alone."""


def failure(subject: str, what: str, error: OpsError) -> Finding:
    """Bad where the snapshot is at fault, unknown where it could not be tried: by whom, or for want of room."""
    tried = not isinstance(error, _NOT_TRIED) and not isinstance(error.__cause__, OSError)
    return Finding(subject, False if tried else None, f"{what}: {error.message}", error.remedy)


def ask_all(
    manifest: Manifest,
    staged: Mapping[str, str],
    serve: ServeModels,
    ask: AskAgain,
    threshold: float,
    look: Callable[[], None],
    progress: Progress,
) -> Asked:
    """Start the restored models and ask them. `staged` is part key -> place; `look` ends it when its time is over.

    Raises LeaseLost alone."""
    word = "model_cache/"
    caches = {key.removeprefix(word): place for key, place in staged.items() if key.startswith(word)}
    asked = Asked()
    try:
        look()
        with serve(caches) as served:
            _probe(served, asked)
            _questions(manifest, staged, served, ask, threshold, asked, progress)
    except LeaseLost:
        raise
    except OpsError as error:
        subject = "questions" if manifest.questions else "models"
        asked.findings.append(failure(subject, "cannot be asked", error))
        asked.recall = None
    return asked


def _probe(served: Served, asked: Asked) -> None:
    for model, reason in served.no_card.items():
        subject = f"model/{model}"
        asked.unloaded.add(subject)
        asked.findings.append(Finding(subject, None, f"{NOT_GENERATED} ({reason})", _NO_CARD_REMEDY))
    for model, probe in served.probes.items():
        try:
            asked.findings.append(Finding(f"model/{model}", True, probe()))
        except LeaseLost:
            raise
        except OpsError as error:
            asked.findings.append(failure(f"model/{model}", "gives no answer", error))


def _questions(
    manifest: Manifest,
    staged: Mapping[str, str],
    served: Served,
    ask: AskAgain,
    threshold: float,
    asked: Asked,
    progress: Progress,
) -> None:
    scores: list[float] = []
    for (collection, model), questions in _grouped(manifest.questions).items():
        subject = f"questions/{collection}"
        place, server = staged.get(f"collection/{collection}"), served.servers.get(model)
        if place is not None and model in served.no_card:
            asked.unloaded.add(subject)
            asked.findings.append(
                Finding(subject, None, f"were not asked: no card for {model}", _NO_CARD_REMEDY)
            )
            continue
        if place is None or server is None:
            missing = "the collection" if place is None else f"a server for model {model}"
            asked.findings.append(Finding(subject, None, f"were not asked: {missing} is not there"))
            continue
        progress("questions", len(scores), len(manifest.questions), "questions")
        answers = ask(server, model, collection, place, [question.text for question in questions])
        scores += [
            recall_at_k(question.answer, answer, k=10)
            for question, answer in zip(questions, answers, strict=True)
        ]
    if not manifest.questions or (not scores and asked.unloaded):
        return
    progress("questions", len(scores), len(manifest.questions), "questions")
    measured = Recall(tuple(scores))
    asked.findings.append(recall_verdict(measured, threshold, "questions"))
    asked.recall = measured.mean


def _grouped(questions: Sequence[Question]) -> dict[tuple[str, str], list[Question]]:
    groups: dict[tuple[str, str], list[Question]] = {}
    for question in questions:
        groups.setdefault((question.collection, question.model), []).append(question)
    return groups
