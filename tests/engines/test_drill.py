"""The verdict of a drill: what was proven, what was bad, and what could not be tried, which is neither."""

# ruff: noqa: ARG002 - fakes take what the Protocol hands them, used or not

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.engines.drill import DrillReport, Limits, Served, run_drill
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
from ops_pipelines.policy.drills import verdict
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
    """Moves on as a test says."""

    def __init__(self) -> None:
        self.now = BEGUN + timedelta(seconds=1)

    def __call__(self) -> datetime:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class Place:
    """A PartTarget of which a test says how it goes. `log` is what was done, over all of them."""

    part: Part
    log: list[str]
    clock: Clock = field(default_factory=Clock)
    takes: float = 0.5
    """Seconds to stage it."""
    stage_error: Exception | None = None
    discard_error: Exception | None = None
    findings: tuple[Finding, ...] = GOOD
    there: set[str] = field(default_factory=set)
    """Places that lie in the server."""

    @property
    def kind(self) -> str:
        return self.part.kind

    @property
    def name(self) -> str:
        return self.part.name

    def stage(self, part: Part, into: str | None, fetch: Fetch, progress: Progress) -> str:
        self.log.append(f"stage {part.name} {into}")
        self.clock.move(self.takes)
        place = f"{part.name}__restore_{into}"
        self.there |= {place, f"{part.name}__restore_my{into}"}  # the second is somebody else's
        progress("stage", 1, 1, "files")
        if self.stage_error is not None:
            raise self.stage_error
        return place

    def check(self, part: Part, place: str, *, full: bool) -> tuple[Finding, ...]:
        return self.findings

    def discard(self, place: str) -> None:
        self.log.append(f"discard {self.part.name} {place}")
        self.clock.move(1000)
        if self.discard_error is not None:
            raise self.discard_error
        if place not in self.there:
            raise PartFailed(f"{place} is nothing that a restore of {self.part.name} made", remedy="")
        self.there.remove(place)

    def leftovers(self) -> tuple[str, ...]:
        return tuple(sorted(self.there))


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
    probes: Mapping[str, Callable[[], str]] = field(default_factory=dict)
    no_card: Mapping[str, str] = field(default_factory=dict)
    inspected: tuple[Finding, ...] = ()
    limits: Limits = field(default_factory=Limits)

    def __call__(self) -> DrillReport:
        manifest = Manifest("20260102T030000Z-aaaaaa", "chat", BEGUN.isoformat(), self.parts, self.questions)
        clock = Clock()
        targets = {
            part.key: cast("PartTarget", Place(part, self.log, clock, **self.changes.get(part.name, {})))
            for part in self.parts
            if part.name not in self.absent
        }

        @contextmanager
        def serve(caches: Mapping[str, str]) -> Iterator[Served]:
            self.log.append(f"serve {dict(caches)}")
            if self.serve_error is not None:
                raise self.serve_error
            servers = {name: cast("Embedder", name) for name in self.servers}
            yield Served(servers, self.probes, self.no_card)
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
            threshold=0.95, full=False, clock=clock, fence=self.fence, expected=self.expected,
            inspect=lambda part, place: self.inspected, limits=self.limits,
        )  # fmt: skip


def test_it_restores_asks_and_clears_up() -> None:
    run = Run()
    report = run()
    assert (report.verdict, report.recall, report.questions) == ("passed", 1.0, 1)
    assert run.log == [
        "stage models drill", "stage docs drill", "serve {'models': 'models__restore_drill'}",
        "ask docs at docs__restore_drill", "served", "discard docs docs__restore_drill",
        "discard models models__restore_drill",
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
        "ask docs at docs__restore_drill",
        "ask other at other__restore_drill",
    ]


# --- models that are started, or cannot be ---

NO_CARD = {"m": "no card: 1 needed, 0 of 1 have room"}


def says(words: str) -> Callable[[], str]:
    return lambda: words


def refuses() -> str:
    raise Refused("it answered nothing", remedy="")


CHAT = Part("model_cache", "chat", (FileEntry("e", 1, "4" * 64),))
NOTHING_ASKED: dict[str, Any] = {"parts": (CHAT,), "questions": (), "expected": ()}
BROKEN = (Finding("model_cache/chat", False, "names the shard b, which is not there"),)


@pytest.mark.parametrize(
    ("run", "expected", "said"),
    [
        (Run(**NOTHING_ASKED, probes={"m": says("wrote 12 characters")}), "passed", "wrote 12 characters"),
        (Run(**NOTHING_ASKED, probes={"m": refuses}), "unknown", "gives no answer: it answered nothing"),
        (Run(**NOTHING_ASKED, no_card=NO_CARD), "not generated: no card", "not generated: no card (no card: 1 needed"),
        (Run(servers=(), no_card=NO_CARD), "not generated: no card", "were not asked: no card for m"),
        (Run(**NOTHING_ASKED, no_card=NO_CARD, inspected=BROKEN), "failed", "names the shard b"),
        (Run(**NOTHING_ASKED, no_card=NO_CARD, probes={"n": refuses}), "unknown", "it answered nothing"),
        (Run(no_card={"other": "no card: none"}), "not generated: no card", "recall@10 is 1.000"),
    ],
)  # fmt: skip
def test_a_model_that_was_not_loaded_has_not_passed(run: Run, expected: str, said: str) -> None:
    report = run()
    assert (report.verdict, report.proof) == (expected, expected)
    assert said in " ".join(finding.message for finding in report.findings)


# --- objectives and limits ---


@dataclass(frozen=True)
class Wanted:
    rto: float | None = None
    rpo: float | None = None


DAY_OLD = BEGUN - timedelta(hours=25)


@pytest.mark.parametrize(
    ("limits", "change", "verdict_", "said"),
    [
        (Limits(objectives=Wanted()), {}, "passed", ""),
        (Limits(objectives=Wanted(rto=1)), {}, "passed", "1.0 s to restore (at most 1.0 s is wanted)"),
        (Limits(objectives=Wanted(rto=0.9)), {}, "failed", "1.0 s to restore (at most 0.9 s is wanted)"),
        (Limits(objectives=Wanted(rto=1)), {"absent": ("models",)}, "unknown", "could not be measured"),
        (Limits(objectives=Wanted(rto=0.4)), {"absent": ("models",)}, "failed", "0.5 s to restore"),
        (Limits(objectives=Wanted(rpo=93600), newest=DAY_OLD), {}, "passed", "25.0 h since the newest"),
        (Limits(objectives=Wanted(rpo=86400), newest=DAY_OLD), {}, "failed", "25.0 h since the newest"),
        (Limits(objectives=Wanted(rpo=86400)), {}, "unknown", "could not be measured"),
    ],
)  # fmt: skip
def test_an_objective_that_is_missed_fails_the_drill(
    limits: Limits, change: dict[str, Any], verdict_: str, said: str
) -> None:
    report = Run(limits=limits, **change)()
    assert report.verdict == verdict_, report.findings
    assert said in " ".join(finding.message for finding in report.findings)
    assert report.proof == ("unknown" if change else "passed"), "the snapshot is not at fault"


def test_the_time_of_a_restore_is_not_known_where_a_part_was_not_restored() -> None:
    whole, partial = Run()(), Run(absent=("models",))()
    assert (whole.rto, [one.seconds for one in whole.parts]) == (1.0, [0.5, 0.5])
    assert (partial.rto, partial.seconds) == (None, 0.5)


def test_a_drill_for_which_there_is_no_room_restores_nothing() -> None:
    run = Run(limits=Limits(room=Finding("drill/room", None, "9 GiB needed, 1 GiB free")))
    report = run()
    assert (report.verdict, report.rto, run.log) == ("unknown", None, [])


def test_a_drill_that_takes_too_long_is_given_up_and_cleared_away() -> None:
    run = Run(limits=Limits(seconds=3600), changes={"models": {"takes": 3601}})
    report = run()
    assert report.verdict == "unknown"
    assert [(one.subject, one.ok) for one in report.findings if "given up after 60.0 min" in one.message] == [
        ("model_cache/models", None), ("collection/docs", None), ("questions", None),
    ]  # fmt: skip
    assert run.log == ["stage models drill", "discard models models__restore_drill"]


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
    assert run.log[-2:] == ["discard docs docs__restore_drill", "discard models models__restore_drill"]
