"""A drill: restore a snapshot into throw-away places and prove that it answers as before.

The live stack is never touched. Model and vectors are proven together: the questions were kept as text, and
are embedded again by the model that was restored from the same snapshot. What could not be tried is said, and
a drill in which anything could not be tried has not passed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from ops_pipelines.engines._drill_asking import AskAgain, Served, ServeModels, ask_all, failure
from ops_pipelines.engines.ports import Clock, Fence, Fetch, PartTarget, Progress, silent
from ops_pipelines.errors import LeaseLost, LimitReached, OpsError
from ops_pipelines.policy.drills import (
    Measured,
    Objectives,
    Verdict,
    objective_findings,
    verdict,
)
from ops_pipelines.policy.manifest import FileEntry, Manifest, Part
from ops_pipelines.policy.plan import Finding
from ops_pipelines.policy.words import time_in_words

__all__ = ["DrillReport", "Inspect", "Limits", "PartTime", "ServeModels", "Served", "run_drill"]

log = structlog.get_logger()

Inspect = Callable[[Part, str], Sequence[Finding]]
"""Look at the files of a staged part, without starting anything."""


@dataclass(frozen=True)
class Limits:
    """What a drill may take, and what it must not exceed."""

    seconds: float | None = None
    """Time after which it is given up."""
    room: Finding | None = None
    """Whether its places fit; a drill for which there is no room restores nothing."""
    objectives: Objectives | None = None
    newest: datetime | None = None
    """When the newest snapshot of the stack was committed, for the RPO."""
    before: datetime | None = None
    """When the one before it was, of those that are kept."""

    @property
    def interval(self) -> float | None:
        """Seconds between the newest two; None where there are not two."""
        if self.newest is None or self.before is None:
            return None
        return (self.newest - self.before).total_seconds()


@dataclass(frozen=True)
class PartTime:
    """How long one part took."""

    part: str
    size: int
    seconds: float
    """Until it was restored and checked."""


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
    """From the first byte fetched to the last answer, of whatever was restored."""
    age: float
    """Seconds between the snapshot's commit and the drill."""
    size: int
    full: bool
    rto: float | None = None
    """`seconds`, where every part was restored: the time that a restore takes."""
    rpo: float | None = None
    """Seconds since the newest snapshot was committed, when the drill began: what would have been lost."""
    interval: float | None = None
    """Seconds between the newest two snapshots that are kept."""
    parts: tuple[PartTime, ...] = ()
    proof: Verdict = "unknown"
    """The verdict on the snapshot alone: a missed objective is not its fault."""


@dataclass
class _Watch:
    """A fence that also ends a drill whose time is over."""

    fence: Fence
    clock: Clock
    limit: float | None
    begun: datetime = field(init=False)

    def __post_init__(self) -> None:
        self.begun = self.clock()

    def look(self) -> None:
        """Raises LimitReached once the time is over."""
        if self.limit is not None and self.clock() > self.begun + timedelta(seconds=self.limit):
            raise LimitReached(
                f"the drill was given up after {time_in_words(self.limit)}",
                remedy="raise `drill.time_limit`, or find out what is slow",
            )

    def fetch(self, real: Fetch) -> Fetch:
        """A Fetch that looks at the time before each file."""

        def fetch(entry: FileEntry, destination: Path) -> None:
            self.look()
            real(entry, destination)

        return fetch

    def progress(self, real: Progress) -> Progress:
        """A Progress that looks at the time at each word."""

        def progress(step: str, done: int, total: int | None, unit: str) -> None:
            self.look()
            real(step, done, total, unit)

        return progress

    @property
    def seconds(self) -> float:
        return (self.clock() - self.begun).total_seconds()


def nothing(part: Part, place: str) -> Sequence[Finding]:  # noqa: ARG001 - asked of every part
    """An Inspect that looks at nothing."""
    return ()


def run_drill(
    manifest: Manifest,
    targets: Mapping[str, PartTarget],
    *,
    places: Callable[[Part], str],
    fetch: Fetch,
    serve: ServeModels | None,
    ask: AskAgain,
    threshold: float,
    full: bool,
    clock: Clock,
    fence: Fence,
    expected: Collection[str] = (),
    inspect: Inspect = nothing,
    limits: Limits = Limits(),
    secrets: Sequence[Finding] = (),
    progress: Progress = silent,
) -> DrillReport:
    """Restore what `targets` can take into `places`, ask the kept questions, and clean up.

    `targets` is by part key, `places` names the throw-away place of a part. `expected` are the collections of
    which questions should have been kept: those that have rows and a model; `secrets` is what was
    found of the secrets that parts need. Without `serve`, nothing is started
    and nothing asked. Failures are findings of the report, not exceptions: a drill that cannot run has not passed.
    Only LeaseLost ends it: the places are then another drill's, and are left alone.
    """
    watch = _Watch(fence, clock, limits.seconds)
    findings: list[Finding] = [] if limits.room is None else [limits.room]
    # A secret that is another one now is no fault of the snapshot; but what needs it is not proven by a restore.
    findings += [replace(one, ok=None) if one.ok is False else one for one in secrets]
    recall: float | None = None
    unloaded: set[str] = set()
    taken = 0.0
    staging = _Staging(targets, places, watch.fetch(fetch), inspect, full, watch, watch.progress(progress))
    with ExitStack() as cleanup:
        if limits.room is None or limits.room.ok:
            staging.run(manifest, cleanup, findings)
            if serve is not None:
                say = watch.progress(progress)
                asked = ask_all(manifest, staging.good, serve, ask, threshold, watch.look, say)
                findings += asked.findings
                recall, unloaded = asked.recall, asked.unloaded
                findings += _not_kept(manifest, expected)
            taken = watch.seconds
    proof = verdict(findings, unloaded)
    measured = Measured(
        taken,
        whole=bool(manifest.parts) and all(part.key in staging.placed for part in manifest.parts),
        age=None if limits.newest is None else (watch.begun - limits.newest).total_seconds(),
    )
    if limits.objectives is not None:
        findings += objective_findings(measured, limits.objectives)
    return DrillReport(
        snapshot=manifest.snapshot,
        verdict=verdict(findings, unloaded),
        findings=tuple(findings),
        recall=recall,
        questions=len(manifest.questions),
        seconds=taken,
        age=(watch.begun - datetime.fromisoformat(manifest.created)).total_seconds(),
        size=manifest.size,
        full=full,
        rto=measured.rto,
        rpo=measured.age,
        interval=limits.interval,
        parts=tuple(staging.times),
        proof=proof,
    )


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


@dataclass
class _Staging:
    """Bringing every part to its throw-away place."""

    targets: Mapping[str, PartTarget]
    places: Callable[[Part], str]
    fetch: Fetch
    inspect: Inspect
    full: bool
    watch: _Watch
    progress: Progress
    placed: dict[str, str] = field(default_factory=dict)
    """Part key -> place, of all that were restored."""
    good: dict[str, str] = field(default_factory=dict)
    """Those of them that are as they were."""
    times: list[PartTime] = field(default_factory=list)

    def run(self, manifest: Manifest, cleanup: ExitStack, findings: list[Finding]) -> None:
        """Stage and check each part; `cleanup` discards it."""
        for part in manifest.parts:
            target = self.targets.get(part.key)
            if target is None:
                findings.append(Finding(part.key, None, "was not tried: nothing here can hold it"))
                continue
            self.watch.fence.check()
            cleanup.callback(self._clear, part, target, findings)
            begun = self.watch.seconds
            self._stage(part, target, findings)
            self.times.append(PartTime(part.key, part.size, self.watch.seconds - begun))

    def _clear(self, part: Part, target: PartTarget, findings: list[Finding]) -> None:
        """Remove the part's throw-away place: the one that was staged, else what a failed staging left of it."""
        word, staged = self.places(part), self.placed.get(part.key)
        try:
            self.watch.fence.check()
        except LeaseLost as error:
            log.warning("drill.left", place=staged or word, error=error.message)
            return
        if staged is None and "/" not in word:  # the name that it would have had is known to the target alone
            endings = (f"__restore_{word}", f".restore-{word}")
            left = [place for place in _leftovers(target, findings) if place.endswith(endings)]
        else:
            left = [staged or word]
        for place in left:
            try:
                target.discard(place)
            except (OpsError, OSError) as error:
                _left(place, error, findings)

    def _stage(self, part: Part, target: PartTarget, findings: list[Finding]) -> None:
        try:
            self.watch.look()
            place = target.stage(part, self.places(part), self.fetch, self.progress)
            self.placed[part.key] = place
            checks = [*target.check(part, place, full=self.full), *self.inspect(part, place)]
        except LeaseLost:
            raise
        except OpsError as error:
            findings.append(failure(part.key, "cannot be restored", error))
            return
        findings.extend(checks)
        if all(check.ok for check in checks if check.severity == "error"):
            self.good[part.key] = place


def _leftovers(target: PartTarget, findings: list[Finding]) -> tuple[str, ...]:
    try:
        return target.leftovers()
    except (OpsError, OSError) as error:
        _left(f"{target.kind}/{target.name}", error, findings)
        return ()


def _left(place: str, error: OpsError | OSError, findings: list[Finding]) -> None:
    log.warning("drill.leftover", place=place, error=str(error))
    words = error.message if isinstance(error, OpsError) else str(error)
    findings.append(
        Finding(place, False, f"could not be cleaned up: {words}", "the next drill tries again", "warning")
    )
