"""What prune keeps: each row flips one fact of a base case, in which exactly one snapshot goes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_pipelines.policy.retention import SnapshotFacts, plan_prune
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
