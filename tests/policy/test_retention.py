"""What prune keeps: each row flips one fact of a base case, in which exactly one snapshot goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_pipelines.policy.retention import Attempt, SnapshotFacts, plan_prune
from ops_pipelines.stack.operations import Keep as DeclaredKeep

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
KEEP = DeclaredKeep(days=30, last=2)


def made(days_ago: float, **facts: object) -> SnapshotFacts:
    """A snapshot that was verified an hour after it was made."""
    created = NOW - timedelta(days=days_ago)
    base = SnapshotFacts(f"{created:%Y%m%dT%H%M%SZ}-aaaaaa", created, verified=created + timedelta(hours=1))
    return replace(base, **facts)  # type: ignore[arg-type] # rows name fields


OLDEST = made(50)
DRILLED = made(45, drilled=NOW - timedelta(days=44))
YOUNG = made(20)
SECOND = made(2)
NEWEST = made(1)
BASE = (NEWEST, SECOND, YOUNG, DRILLED, OLDEST)


def dropped(snapshots: tuple[SnapshotFacts, ...], keep: DeclaredKeep = KEEP) -> set[str]:
    return {verdict.id for verdict in plan_prune(snapshots, keep, NOW) if not verdict.keep}


def with_oldest(**facts: object) -> tuple[SnapshotFacts, ...]:
    return (*BASE[:-1], replace(OLDEST, **facts))  # type: ignore[arg-type] # rows name fields


def with_newest(**facts: object) -> tuple[SnapshotFacts, ...]:
    return (replace(NEWEST, **facts), *BASE[1:])  # type: ignore[arg-type] # rows name fields


def all_unverified() -> tuple[SnapshotFacts, ...]:
    return tuple(replace(one, verified=None) for one in BASE)


LATER = NOW - timedelta(hours=1)


@pytest.mark.parametrize(
    ("snapshots", "goes"),
    [
        pytest.param(BASE, {OLDEST}, id="base: too old and nothing else"),
        pytest.param((), set(), id="none at all"),
        pytest.param(with_oldest(pinned=NOW), set(), id="pinned"),
        pytest.param(with_oldest(created=NOW - timedelta(days=30)), set(), id="just 30 days old"),
        pytest.param(with_oldest(created=NOW + timedelta(days=9)), set(), id="made in the future"),
        pytest.param(with_oldest(state="newer"), set(), id="written by a newer version"),
        pytest.param(with_oldest(state="incomplete"), set(), id="incomplete: left to the sweep"),
        pytest.param(with_oldest(state="damaged"), {OLDEST}, id="damaged and too old"),
        pytest.param(with_oldest(state="damaged", pinned=NOW), set(), id="damaged but pinned"),
        pytest.param(with_oldest(verified=None), {OLDEST}, id="never verified, too old"),
        pytest.param(with_oldest(failed=LATER), {OLDEST}, id="failed and too old"),
        pytest.param(with_newest(state="damaged"), set(), id="the newest is damaged: nothing goes"),
        pytest.param(with_newest(state="incomplete"), set(), id="the newest attempt is incomplete"),
        pytest.param(with_newest(state="newer"), set(), id="the newest is of a newer format"),
        pytest.param(with_newest(failed=LATER), set(), id="the newest failed its check"),
        pytest.param(with_newest(failed=NEWEST.verified), set(), id="... in the very second it passed"),
        pytest.param(with_newest(failed=NEWEST.created), {OLDEST}, id="the newest failed, then passed"),
        pytest.param(with_newest(verified=None), {OLDEST}, id="the newest is not verified yet"),
        pytest.param(all_unverified(), set(), id="none is verified: nothing goes"),
        pytest.param(
            (*BASE[:3], replace(DRILLED, drilled=None), OLDEST), {DRILLED, OLDEST}, id="not drilled"
        ),
        pytest.param(
            (replace(NEWEST, drilled=LATER), *BASE[1:]), {DRILLED, OLDEST}, id="a later one is drilled"
        ),
        pytest.param(
            (*BASE[:3], replace(DRILLED, failed=LATER), OLDEST), {DRILLED, OLDEST}, id="drilled, then failed"
        ),
    ],
)
def test_what_goes(snapshots: tuple[SnapshotFacts, ...], goes: set[SnapshotFacts]) -> None:
    assert dropped(snapshots) == {one.id for one in goes}


def test_the_last_verified_stays_however_old() -> None:
    unverified = tuple(replace(one, verified=None) for one in BASE[:-1])
    assert OLDEST.id not in dropped((*unverified, OLDEST))
    assert OLDEST.id in dropped((*unverified[:-1], DRILLED, OLDEST))


def test_a_verified_one_that_failed_later_protects_nothing() -> None:
    """Only the failed one was ever verified, so nothing is known to be good: nothing goes."""
    unverified = tuple(replace(one, verified=None) for one in BASE[:-1])
    assert dropped((*unverified, replace(OLDEST, failed=LATER))) == set()


@pytest.mark.parametrize(("last", "stay"), [(1, 1), (2, 2), (3, 3), (4, 4), (9, 4)])
def test_the_newest_stay_whatever_their_age(last: int, stay: int) -> None:
    old = [made(100), made(101), made(102), made(103)]
    goes = dropped(tuple(old), DeclaredKeep(days=30, last=last))
    assert goes == {one.id for one in old[stay:]}


@pytest.mark.parametrize("bad", [{"state": "damaged"}, {"failed": NOW}])
def test_bad_ones_do_not_count_among_the_newest(bad: dict[str, object]) -> None:
    newest, second, third = made(100), made(101), made(102)
    broken = replace(second, **bad)  # type: ignore[arg-type] # rows name fields
    assert dropped((newest, second, third)) == {third.id}
    assert dropped((newest, broken, third)) == {broken.id}


def test_each_verdict_says_why_newest_first() -> None:
    verdicts = plan_prune(tuple(reversed(BASE)), KEEP, NOW)
    assert [verdict.id for verdict in verdicts] == [one.id for one in BASE]
    assert [verdict.reason for verdict in verdicts] == [
        "the last verified one",
        "among the 2 newest",
        "not older than 30 days",
        "the last drilled one",
        "older than 30 days",
    ]


@dataclass(frozen=True)
class Keep:
    days: int
    last: int
    daily: int = 0
    weekly: int = 0
    monthly: int = 0


times = st.none() | st.integers(0, 200).map(lambda days: NOW - timedelta(days=days))
facts = st.builds(
    lambda age, suffix, **rest: replace(
        made(age, **rest), id=f"{NOW - timedelta(days=age):%Y%m%dT%H%M%SZ}-{suffix:06x}"
    ),
    age=st.integers(0, 200),
    suffix=st.integers(0, 0xFFFFFF),
    state=st.sampled_from(["complete", "complete", "complete", "damaged", "incomplete", "newer"]),
    verified=times,
    drilled=times,
    failed=times,
    pinned=times,
)


@given(
    st.lists(facts, max_size=12, unique_by=lambda one: one.id),
    st.builds(Keep, days=st.integers(1, 90), last=st.integers(1, 5)),
)
def test_whatever_is_there_what_must_stay_stays(snapshots: list[SnapshotFacts], keep: Keep) -> None:
    goes = {verdict.id for verdict in plan_prune(snapshots, keep, NOW) if not verdict.keep}
    stays = [one for one in snapshots if one.id not in goes]
    good = sorted((one for one in snapshots if not one.bad), key=lambda one: one.id)
    verified = [one for one in good if one.verified]
    drilled = [one for one in good if one.drilled]
    assert not verified or verified[-1] in stays
    assert not drilled or drilled[-1] in stays
    assert not goes or verified
    assert all(one in stays for one in good[-keep.last :])
    assert all(
        one in stays for one in snapshots if one.pinned or NOW - one.created <= timedelta(days=keep.days)
    )


# --- the latest attempt ---

TOKEN = 9
MARGIN = timedelta(minutes=1)
TAKEN = tuple(replace(one, fence=TOKEN - number) for number, one in enumerate(BASE))
"""The newest has the token 9."""


@pytest.mark.parametrize(
    ("attempt", "goes"),
    [
        pytest.param(None, True, id="no word of any, as of old"),
        pytest.param(
            Attempt(NEWEST.created - MARGIN, TOKEN), True, id="begun, and the newest is what it made"
        ),
        pytest.param(Attempt(NEWEST.created - MARGIN, TOKEN - 1), True, id="begun before the newest"),
        pytest.param(Attempt(NEWEST.created - MARGIN, TOKEN + 1), False, id="a later one begun by its token"),
        pytest.param(Attempt(NEWEST.created + MARGIN, TOKEN), False, id="a later one begun by its time"),
        pytest.param(
            Attempt(NEWEST.created - MARGIN, TOKEN, "disk"), False, id="it failed after it committed"
        ),
        pytest.param(
            Attempt(NEWEST.created - MARGIN, TOKEN - 1, "disk"), True, id="it failed, the next did not"
        ),
        pytest.param(Attempt(NEWEST.created + MARGIN, TOKEN + 1, "disk"), False, id="the latest failed"),
        pytest.param(
            Attempt(NEWEST.created + MARGIN, 1, "disk"), False, id="its lease was deleted by hand before"
        ),
    ],
)
def test_nothing_goes_unless_the_latest_backup_is_known_to_have_succeeded(
    attempt: Attempt | None, goes: bool
) -> None:
    verdicts = plan_prune(TAKEN, KEEP, NOW, attempt=attempt)
    assert [one.id for one in verdicts if not one.keep] == ([OLDEST.id] if goes else [])
    if not goes:
        assert {one.reason for one in verdicts} == {f"nothing goes: {attempt.words}"}  # type: ignore[union-attr]


def test_a_damaged_snapshot_answers_no_attempt() -> None:
    spoilt = (replace(TAKEN[0], state="damaged"), *TAKEN[1:])
    assert not Attempt(NEWEST.created - MARGIN, TOKEN).answered(spoilt)


# --- days, weeks, months ---

MIDNIGHT = datetime(2026, 11, 21, tzinfo=UTC)


def at(day: int, hour: float = 12, **facts: object) -> SnapshotFacts:
    """A snapshot made so many days before NOW's day, at an hour of it."""
    created = MIDNIGHT - timedelta(days=day) + timedelta(hours=hour)
    base = SnapshotFacts(f"{created:%Y%m%dT%H%M%SZ}-aaaaaa", created, verified=created + timedelta(minutes=1))
    return replace(base, **facts)  # type: ignore[arg-type] # rows name fields


EVERY_DAY = tuple(at(day) for day in range(70))


def days_kept(snapshots: Sequence[SnapshotFacts], **rules: int) -> list[int]:
    keep = DeclaredKeep(**{"days": 0, "last": 1, **rules})
    verdicts = plan_prune(snapshots, keep, NOW)
    kept = {verdict.id for verdict in verdicts if verdict.keep}
    return [(MIDNIGHT.date() - one.created.date()).days for one in snapshots if one.id in kept]


@pytest.mark.parametrize(
    ("rules", "stay"),
    [
        pytest.param({}, [0], id="the newest alone"),
        pytest.param({"last": 3}, [0, 1, 2], id="last"),
        pytest.param({"days": 3}, [0, 1, 2, 3], id="days"),
        pytest.param({"daily": 3}, [0, 1, 2], id="daily"),
        # 2026-11-21 is a Saturday: Sundays before it are 6, 13, 20 days back.
        pytest.param({"weekly": 3}, [0, 6, 13], id="weekly: the newest of each week"),
        pytest.param({"monthly": 3}, [0, 21, 52], id="monthly: the newest of each month"),
        pytest.param({"monthly": 9}, [0, 21, 52], id="fewer months than asked for"),
        pytest.param({"daily": 2, "weekly": 2, "monthly": 2}, [0, 1, 6, 21], id="any rule keeps it"),
        pytest.param({"days": 2, "monthly": 2}, [0, 1, 2, 21], id="days and months"),
    ],
)
def test_a_snapshot_stays_where_any_rule_keeps_it(rules: dict[str, int], stay: list[int]) -> None:
    assert days_kept(EVERY_DAY, **rules) == stay


def test_days_without_a_snapshot_do_not_count() -> None:
    assert days_kept([at(0), at(9), at(17), at(30)], daily=3) == [0, 9, 17]


def test_of_one_day_the_newest_good_one_stays() -> None:
    newest, bad, good, earlier = at(0), at(1, 20, failed=NOW), at(1, 15), at(1, 3)
    verdicts = plan_prune([newest, bad, good, earlier], DeclaredKeep(days=0, last=1, daily=2), NOW)
    assert [(one.keep, one.reason) for one in verdicts] == [
        (True, "the last verified one"),
        (False, "not among the 1 newest, and no other rule keeps it and failed"),
        (True, "the newest of the day 2026-11-20"),
        (False, "not among the 1 newest, and no other rule keeps it"),
    ]


@pytest.mark.parametrize(("zone", "hour"), [("UTC", 15.5), ("Asia/Tokyo", 14.5)])
def test_days_begin_where_the_stack_says(zone: str, hour: float) -> None:
    """15:30 UTC is the next day in Tokyo, 14:30 is not."""
    made = (at(0), at(1, 15.5), at(1, 14.5))
    keep = DeclaredKeep(days=0, last=1, daily=2)
    verdicts = plan_prune(made, keep, NOW, zone=ZoneInfo(zone))
    assert {one.id for one in verdicts if one.keep} == {at(0).id, at(1, hour).id}


@given(
    st.lists(st.integers(0, 400), min_size=1, max_size=40, unique=True),
    st.integers(0, 40), st.integers(1, 5), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9),
)  # fmt: skip
def test_pruning_twice_removes_nothing_more(
    days: list[int], age: int, last: int, daily: int, weekly: int, monthly: int
) -> None:
    keep = DeclaredKeep(days=age, last=last, daily=daily, weekly=weekly, monthly=monthly)
    made = [at(day) for day in days]
    kept = {verdict.id for verdict in plan_prune(made, keep, NOW) if verdict.keep}
    left = [one for one in made if one.id in kept]
    assert all(verdict.keep for verdict in plan_prune(left, keep, NOW))
    assert len(left) >= min(len(made), max(last, daily, weekly and 1, monthly and 1))
