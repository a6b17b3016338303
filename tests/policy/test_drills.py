"""What a drill concludes: each row flips one fact."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_pipelines.policy.drills import choose, room, verdict, without_card
from ops_pipelines.policy.machine import Card
from ops_pipelines.policy.plan import Finding
from ops_pipelines.policy.retention import SnapshotFacts
from ops_pipelines.policy.words import time_in_words

NOW = datetime(2026, 11, 21, tzinfo=UTC)
GIB = 1 << 30


def made(day: int, **facts: object) -> SnapshotFacts:
    created = NOW - timedelta(days=day)
    return replace(SnapshotFacts(f"{created:%Y%m%dT%H%M%SZ}-aaaaaa", created), **facts)  # type: ignore[arg-type]


NEWEST, SECOND, THIRD = made(1), made(2), made(3)
ALL = (SECOND, NEWEST, THIRD)


@pytest.mark.parametrize(
    ("snapshots", "pick", "draw", "taken"),
    [
        (ALL, "newest", 0.0, NEWEST),
        (ALL, "random", 0.25, NEWEST),
        (ALL, "random", 0.24, THIRD),
        (ALL, "random", 0.12, SECOND),
        (ALL, "random", 0.0, SECOND),
        ((NEWEST,), "random", 0.0, NEWEST),
        ((NEWEST, replace(SECOND, failed=NOW), THIRD), "random", 0.0, THIRD),
        ((NEWEST, replace(SECOND, state="damaged")), "random", 0.0, NEWEST),
        ((replace(NEWEST, state="incomplete"), SECOND), "newest", 0.0, SECOND),
        ((replace(NEWEST, failed=NOW), SECOND), "newest", 0.0, replace(NEWEST, failed=NOW)),
        ((), "newest", 0.0, None),
        ((replace(NEWEST, state="damaged"),), "newest", 0.0, None),
    ],
)
def test_which_snapshot_is_drilled(
    snapshots: tuple[SnapshotFacts, ...], pick: str, draw: float, taken: SnapshotFacts | None
) -> None:
    chosen = choose(snapshots, pick, 0.25, draw)  # type: ignore[arg-type] # rows name picks
    assert chosen == (taken.id if taken else None)


@given(st.floats(0, 1, exclude_max=True), st.floats(0.001, 1), st.integers(1, 9))
def test_any_draw_takes_one_that_is_there(draw: float, share: float, count: int) -> None:
    snapshots = [made(day) for day in range(count)]
    assert choose(snapshots, "random", share, draw) in {one.id for one in snapshots}


BAD, UNSEEN, GOOD = Finding("a", False, ""), Finding("a", None, ""), Finding("a", True, "")
NO_CARD = Finding("model/m", None, "")


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ([GOOD], "passed"),
        ([GOOD, UNSEEN], "unknown"),
        ([GOOD, UNSEEN, BAD], "failed"),
        ([GOOD, NO_CARD], "not generated: no card"),
        ([GOOD, NO_CARD, UNSEEN], "unknown"),
        ([GOOD, NO_CARD, BAD], "failed"),
        ([GOOD, replace(BAD, severity="warning")], "passed"),
        ([], "unknown"),
    ],
)
def test_verdict(findings: list[Finding], expected: str) -> None:
    assert verdict(findings, {"model/m"}) == expected


@pytest.mark.parametrize(
    ("free", "limit", "ok"),
    [(5, None, True), (4, None, None), (None, None, None), (9, 5, True), (9, 4, None), (4, 5, None)],
)
def test_room_is_looked_at_before(free: int | None, limit: int | None, ok: bool | None) -> None:
    found = room(5, free, limit)
    assert found.ok is ok
    assert bool(found.remedy) is (ok is None)


@dataclass(frozen=True)
class Need:
    gpus: int = 0
    gpu: int | None = None
    gpu_memory: int | None = None
    gpu_utilization: float | None = None


BUSY, IDLE = Card(0, "a", 24 * GIB, 2 * GIB), Card(1, "b", 24 * GIB, 24 * GIB)


@pytest.mark.parametrize(
    ("needs", "cards", "refused"),
    [
        ([Need()], "NVML cannot be asked", set()),
        ([Need(gpus=1)], "NVML cannot be asked", {"c0"}),
        ([Need(gpus=1)], (), {"c0"}),
        ([Need(gpus=1)], (BUSY,), {"c0"}),
        ([Need(gpus=1)], (BUSY, IDLE), set()),
        ([Need(gpus=2)], (BUSY, IDLE), {"c0"}),
        ([Need(gpu=0)], (BUSY, IDLE), {"c0"}),
        ([Need(gpu=1)], (BUSY, IDLE), set()),
        ([Need(gpu_memory=GIB)], (BUSY,), set()),
        ([Need(gpu_memory=3 * GIB)], (BUSY,), {"c0"}),
        ([Need(gpu_utilization=0.5), Need(gpu_utilization=0.5)], (IDLE,), set()),
        ([Need(gpu_utilization=0.6), Need(gpu_utilization=0.6)], (IDLE,), {"c1"}),
    ],
)
def test_a_server_needs_a_card_that_is_free(
    needs: list[Need], cards: tuple[Card, ...] | str, refused: set[str]
) -> None:
    found = without_card({f"c{number}": need for number, need in enumerate(needs)}, cards)
    assert set(found) == refused
    assert all(reason.startswith("no card: ") for reason in found.values())


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.04, "0.0 s"), (119.9, "119.9 s"), (120, "2.0 min"), (7200, "2.0 h")]
)
def test_time_in_words(seconds: float, words: str) -> None:
    assert time_in_words(seconds) == words
