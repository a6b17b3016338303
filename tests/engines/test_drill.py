"""The verdict of a drill: what was proven, what was bad, and what could not be tried, which is neither."""

# ruff: noqa: ARG002 - fakes take what the Protocol hands them, used or not

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.engines.drill import DrillReport, run_drill, verdict
from ops_pipelines.engines.lease import take_drill_lease, take_lease
from ops_pipelines.engines.ports import Embedder, Fence, Fetch, PartTarget, Progress
from ops_pipelines.errors import (
    ChecksumMismatch,
    DeployFailed,
    LeaseHeld,
    LeaseLost,
    PartFailed,
    Refused,
    Unreachable,
)
from ops_pipelines.policy.manifest import FileEntry, Manifest, Part, Question
from ops_pipelines.policy.plan import Finding
from tests.engines.snapshot_kit import LAYOUT, FreeFence

BEGUN = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
MODELS = Part("model_cache", "models", (FileEntry("a", 1, "0" * 64),))
DOCS = Part("collection", "docs", (FileEntry("b", 1, "1" * 64),), {"rows": 3})
OTHER = Part("collection", "other", (FileEntry("c", 1, "2" * 64),), {"rows": 3})
EMPTY = Part("collection", "empty", (FileEntry("d", 1, "3" * 64),), {"rows": 0})
GOOD = (Finding("docs", True, "as before"),)


class Clock:
    """Moves on by a second each time it is asked."""

    def __init__(self) -> None:
        self.now = BEGUN

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@dataclass
class Place:
    """A PartTarget of which a test says how it goes. `log` is what was done, over all of them."""

    part: Part
    log: list[str]
    stage_error: Exception | None = None
    discard_error: Exception | None = None
    findings: tuple[Finding, ...] = GOOD

    @property
    def kind(self) -> str:
        return self.part.kind

    @property
    def name(self) -> str:
        return self.part.name

    def stage(self, part: Part, into: str | None, fetch: Fetch, progress: Progress) -> str:
        self.log.append(f"stage {part.name} {into}")
        if self.stage_error is not None:
            raise self.stage_error
        return f"{part.name}__{into}"

    def check(self, part: Part, place: str, *, full: bool) -> tuple[Finding, ...]:
        return self.findings

    def discard(self, place: str) -> None:
        self.log.append(f"discard {self.part.name} {place}")
        if self.discard_error is not None:
            raise self.discard_error


@dataclass
class Run:
    """One drill, in which a test changes one fact."""

    parts: tuple[Part, ...] = (MODELS, DOCS)
    questions: tuple[Question, ...] = (Question("docs", "m", "?", (1, 2)),)
    answers: Mapping[str, Sequence[str | int]] = field(
        default_factory=lambda: {"docs": (1, 2), "other": (1, 2)}
    )
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    serve_error: Exception | None = None
    ask_error: Exception | None = None
    servers: tuple[str, ...] = ("m",)
    expected: tuple[str, ...] = ("docs",)
    fence: Fence = field(default_factory=FreeFence)
    log: list[str] = field(default_factory=list)

    def __call__(self) -> DrillReport:
        manifest = Manifest("20260102T030000Z-aaaaaa", "chat", BEGUN.isoformat(), self.parts, self.questions)
        targets = {
            part.key: cast("PartTarget", Place(part, self.log, **self.changes.get(part.name, {})))
            for part in self.parts
            if part.name not in self.absent
        }

        @contextmanager
        def serve(caches: Mapping[str, str]) -> Iterator[Mapping[str, Embedder]]:
            self.log.append(f"serve {dict(caches)}")
            if self.serve_error is not None:
                raise self.serve_error
            yield {name: cast("Embedder", name) for name in self.servers}
            self.log.append("served")

        def ask(
            server: Embedder, model: str, collection: str, place: str, texts: Sequence[str]
        ) -> Sequence[Sequence[str | int]]:
            self.log.append(f"ask {collection} at {place}")
            if self.ask_error is not None:
                raise self.ask_error
            return [self.answers[collection]] * len(texts)

        return run_drill(
            manifest, targets, places=lambda part: "drill", fetch=lambda entry, path: None, serve=serve, ask=ask,
            threshold=0.95, full=False, clock=Clock(), fence=self.fence, expected=self.expected,
        )  # fmt: skip


def test_it_restores_asks_and_clears_up() -> None:
    run = Run()
    report = run()
    assert (report.verdict, report.recall, report.questions) == ("passed", 1.0, 1)
    assert run.log == [
        "stage models drill", "stage docs drill", "serve {'models': 'models__drill'}", "ask docs at docs__drill",
        "served", "discard docs drill", "discard models drill",
    ]  # fmt: skip
    assert (report.seconds, report.age) == (1.0, 1.0), "clearing up is no part of a restore"


def stage_fails(error: Exception) -> Run:
    return Run(changes={"docs": {"stage_error": error}})


BAD = (Finding("docs", False, "a row differs"),)
MILD = (Finding("docs", False, "a note", severity="warning"),)
UNSEEN = (Finding("docs", None, "could not be counted"),)
DISK = PartFailed("the disk is full", remedy="")
DISK.__cause__ = OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("case", "run", "expected", "said"),
    [
        ("all is well", Run(), "passed", "recall@10 is 1.000"),
        ("a row differs", Run(changes={"docs": {"findings": BAD}}), "failed", "a row differs"),
        ("a warning alone", Run(changes={"docs": {"findings": MILD}}), "passed", "a note"),
        ("a check could not see", Run(changes={"docs": {"findings": UNSEEN}}), "unknown", "could not be counted"),
        ("other answers", Run(answers={"docs": (8, 9)}), "failed", "recall@10 is 0.000"),
        ("a blob is rotten", stage_fails(ChecksumMismatch("rot", remedy="")), "failed", "rot"),
        ("a part cannot be restored", stage_fails(PartFailed("no schema", remedy="")), "failed", "no schema"),
        ("this disk is full", stage_fails(DISK), "unknown", "disk is full"),
        ("the database is down", stage_fails(Unreachable("down", remedy="")), "unknown", "down"),
        ("the database refuses us", stage_fails(Refused("who are you", remedy="")), "unknown", "who are you"),
        ("nothing can hold a part", Run(absent=("docs",), questions=()), "unknown", "nothing here can hold it"),
        ("the model does not start", Run(serve_error=DeployFailed("no weights", remedy="")), "failed", "no weights"),
        ("its server is gone", Run(ask_error=Unreachable("gone", remedy="")), "unknown", "gone"),
        ("nobody serves the model", Run(servers=()), "unknown", "a server for model m is not there"),
        ("nothing was kept", Run(questions=()), "unknown", "none were kept at backup"),
        ("nothing was kept of a second one", Run(parts=(MODELS, DOCS, OTHER), expected=("docs", "other")), "unknown",
         "none were kept at backup"),
        ("nothing was kept, and no model fills it", Run(questions=(), expected=()), "passed", ""),
        ("nothing was kept of an empty one", Run(parts=(MODELS, EMPTY), questions=(), expected=("empty",)), "passed",
         ""),
        ("it cannot be cleared up", Run(changes={"docs": {"discard_error": OSError("busy")}}), "passed", "busy"),
        ("there is nothing in it", Run(parts=(), questions=()), "unknown", ""),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)  # fmt: skip
def test_verdict(case: str, run: Run, expected: str, said: str) -> None:
    report = run()
    assert report.verdict == expected, (case, report.findings)
    assert said in " ".join(finding.message for finding in report.findings)
    staged = [line.split()[1] for line in run.log if line.startswith("stage")]
    cleared = [line.split()[1] for line in run.log if line.startswith("discard")]
    assert sorted(staged) == sorted(cleared), "whatever was begun is cleared up"


def test_each_collection_is_asked_in_its_own_store() -> None:
    """Two collections of one model may lie in two databases."""
    kept = tuple(Question(name, "m", "?", (1, 2)) for name in ("docs", "other"))
    run = Run(parts=(MODELS, DOCS, OTHER), questions=kept)
    assert run().verdict == "passed"
    assert [line for line in run.log if line.startswith("ask")] == [
        "ask docs at docs__drill",
        "ask other at other__drill",
    ]


def test_places_of_a_drill_that_took_over_are_left_alone() -> None:
    run = Run(fence=FreeFence(lost_at=2))
    with pytest.raises(LeaseLost):
        run()
    assert run.log == ["stage models drill"]


def test_a_lease_lost_while_it_fetches_is_no_fault_of_the_snapshot() -> None:
    with pytest.raises(LeaseLost):
        Run(changes={"docs": {"stage_error": LeaseLost("taken over", remedy="")}})()


def test_nothing_found_is_unknown() -> None:
    assert verdict([]) == "unknown"
    assert verdict(MILD) == "unknown"


def test_two_machines_drill_one_after_the_other_and_hold_up_nobody_else(store: S3Store) -> None:
    words: dict[str, Any] = {"purpose": "drill", "ttl": 60.0, "clock": lambda: datetime.now(UTC), "wait": 0.0}
    with take_drill_lease(store, LAYOUT, "chat", holder="north", **words):
        with pytest.raises(LeaseHeld, match="the drill of the stack `chat` is being changed by north"):
            with take_drill_lease(store, LAYOUT, "chat", holder="south", **words):
                pass
        with take_lease(store, LAYOUT, "chat", holder="south", **words) as fence:
            fence.check()
        with take_drill_lease(store, LAYOUT, "other", holder="south", **words):
            pass


def test_a_fault_of_the_program_itself_is_no_finding() -> None:
    run = Run(ask_error=ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        run()
    assert run.log[-2:] == ["discard docs drill", "discard models drill"]
