"""A drill: restore a snapshot into throw-away places and prove that it answers as before.

The live stack is never touched. Model and vectors are proven together: the questions were kept as text, and
are embedded again by the model that was restored from the same snapshot. What could not be tried is said, and
a drill in which anything could not be tried has not passed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import structlog

from ops_pipelines.engines.ports import Clock, Embedder, Fence, Fetch, PartTarget, Progress, silent
from ops_pipelines.errors import (
    CommandMissing,
    LeaseLost,
    OpsError,
    Refused,
    SecretMissing,
    TargetUnsupported,
    Unreachable,
)
from ops_pipelines.policy.manifest import Manifest, Part, Question
from ops_pipelines.policy.plan import Finding
from ops_pipelines.policy.recall import Recall, recall_at_k
from ops_pipelines.policy.recall import verdict as recall_verdict

log = structlog.get_logger()

Verdict = Literal["passed", "failed", "unknown"]


@dataclass(frozen=True)
class DrillReport:
    """What a drill found."""

    snapshot: str
    verdict: Verdict
    findings: tuple[Finding, ...]
    recall: float | None
    """Mean recall@10 over the questions; None where none could be asked."""
    questions: int
    seconds: float
    """From the first byte fetched to the last answer: the time a restore would take (RTO)."""
    age: float
    """Seconds between the snapshot's commit and the drill: what would have been lost (RPO)."""
    size: int
    full: bool


ServeModels = Callable[[Mapping[str, str]], AbstractContextManager[Mapping[str, Embedder]]]
"""Start what answers for the restored models. Given cache name -> place; yields model -> server."""

AskAgain = Callable[[Embedder, str, str, str, Sequence[str]], Sequence[Sequence[str | int]]]
"""Ten nearest keys for each text: (server, model, collection, its place, texts)."""

_NOT_TRIED = (Unreachable, Refused, CommandMissing, SecretMissing, TargetUnsupported)
"""Errors that say nothing about the snapshot: somebody did not answer, or something is not here."""


def run_drill(
    manifest: Manifest,
    targets: Mapping[str, PartTarget],
    *,
    places: Callable[[Part], str],
    fetch: Fetch,
    serve: ServeModels,
    ask: AskAgain,
    threshold: float,
    full: bool,
    clock: Clock,
    fence: Fence,
    expected: Collection[str] = (),
    progress: Progress = silent,
) -> DrillReport:
    """Restore what `targets` can take into `places`, ask the kept questions, and clean up.

    `targets` is by part key, `places` names the throw-away place of a part. `expected` are the collections of
    which questions should have been kept: those that have rows and a model. Failures are findings of the
    report, not exceptions: a drill that cannot run has not passed. Only LeaseLost ends it: the places are
    then another drill's, and are left alone.
    """
    begun = clock()
    findings: list[Finding] = []
    recall: float | None = None
    took = 0.0
    with ExitStack() as cleanup:
        staged: dict[str, str] = {}
        for part in manifest.parts:
            target = targets.get(part.key)
            if target is None:
                findings.append(Finding(part.key, None, "was not tried: nothing here can hold it"))
                continue
            fence.check()
            cleanup.callback(_discard, target, places(part), fence, findings)
            place = _stage(part, target, places(part), fetch, full, findings, progress)
            if place is not None:
                staged[part.key] = place
        if manifest.questions:
            recall = _ask_all(manifest, staged, serve, ask, threshold, findings, progress)
        findings += _not_kept(manifest, expected)
        took = (clock() - begun).total_seconds()
    return DrillReport(
        snapshot=manifest.snapshot,
        verdict=verdict(findings),
        findings=tuple(findings),
        recall=recall,
        questions=len(manifest.questions),
        seconds=took,
        age=(begun - _committed(manifest)).total_seconds(),
        size=manifest.size,
        full=full,
    )


def verdict(findings: Sequence[Finding]) -> Verdict:
    """Failed where anything is bad, unknown where anything could not be tried, else passed."""
    states = {finding.ok for finding in findings if finding.severity == "error"}
    if False in states:
        return "failed"
    return "unknown" if None in states or not states else "passed"


def _not_kept(manifest: Manifest, expected: Collection[str]) -> list[Finding]:
    """That a collection was restored says nothing of its answers, where no question was kept at backup."""
    kept = {question.collection for question in manifest.questions}
    return [
        Finding(
            f"questions/{part.name}",
            None,
            "none were kept at backup, so it is unknown whether it answers as before",
            "take a new backup while the model's server answers; the log of the last one says why it did not",
        )
        for part in manifest.parts
        if part.kind == "collection" and part.name in expected and part.name not in kept
        and part.facts.get("rows") != 0
    ]  # fmt: skip


def _failure(subject: str, what: str, error: OpsError) -> Finding:
    """Bad where the snapshot is at fault, unknown where it could not be tried: by whom, or for want of room."""
    tried = not isinstance(error, _NOT_TRIED) and not isinstance(error.__cause__, OSError)
    return Finding(subject, False if tried else None, f"{what}: {error.message}", error.remedy)


def _stage(
    part: Part,
    target: PartTarget,
    place: str,
    fetch: Fetch,
    full: bool,
    findings: list[Finding],
    progress: Progress,
) -> str | None:
    try:
        staged = target.stage(part, place, fetch, progress)
        checks = target.check(part, staged, full=full)
    except LeaseLost:
        raise
    except OpsError as error:
        findings.append(_failure(part.key, "cannot be restored", error))
        return None
    findings.extend(checks)
    return staged if all(check.ok for check in checks if check.severity == "error") else None


def _discard(target: PartTarget, place: str, fence: Fence, findings: list[Finding]) -> None:
    try:
        fence.check()
        target.discard(place)
    except LeaseLost as error:
        log.warning("drill.left", place=place, error=error.message)
    except (OpsError, OSError) as error:
        log.warning("drill.leftover", place=place, error=str(error))
        words = error.message if isinstance(error, OpsError) else str(error)
        findings.append(
            Finding(
                place, False, f"could not be cleaned up: {words}", "the next drill tries again", "warning"
            )
        )


def _ask_all(
    manifest: Manifest,
    staged: Mapping[str, str],
    serve: ServeModels,
    ask: AskAgain,
    threshold: float,
    findings: list[Finding],
    progress: Progress,
) -> float | None:
    caches = {
        key.removeprefix("model_cache/"): place
        for key, place in staged.items()
        if key.startswith("model_cache/")
    }
    scores: list[float] = []
    try:
        with serve(caches) as servers:
            for (collection, model), questions in _grouped(manifest.questions).items():
                place = staged.get(f"collection/{collection}")
                server = servers.get(model)
                if place is None or server is None:
                    missing = "the collection" if place is None else f"a server for model {model}"
                    findings.append(
                        Finding(f"questions/{collection}", None, f"were not asked: {missing} is not there")
                    )
                    continue
                progress("questions", len(scores), len(manifest.questions), "questions")
                answers = ask(server, model, collection, place, [question.text for question in questions])
                scores += [
                    recall_at_k(question.answer, answer, k=10)
                    for question, answer in zip(questions, answers, strict=True)
                ]
        progress("questions", len(scores), len(manifest.questions), "questions")
    except LeaseLost:
        raise
    except OpsError as error:
        findings.append(_failure("questions", "cannot be asked", error))
        return None
    measured = Recall(tuple(scores))
    findings.append(recall_verdict(measured, threshold, "questions"))
    return measured.mean


def _grouped(questions: Sequence[Question]) -> dict[tuple[str, str], list[Question]]:
    groups: dict[tuple[str, str], list[Question]] = {}
    for question in questions:
        groups.setdefault((question.collection, question.model), []).append(question)
    return groups


def _committed(manifest: Manifest) -> datetime:
    return datetime.fromisoformat(manifest.created)
