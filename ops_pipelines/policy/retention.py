"""Which snapshots stay. What is not known to be good protects nothing, and while in doubt nothing goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal, Protocol

SnapshotState = Literal["complete", "incomplete", "damaged", "newer"]
"""`incomplete` has no manifest, `damaged` an unreadable one, `newer` one of a later format than ours."""


class KeepRule(Protocol):
    """What a declaration says about keeping (stack.operations.Keep)."""

    @property
    def days(self) -> int: ...
    @property
    def last(self) -> int: ...
    @property
    def daily(self) -> int: ...
    @property
    def weekly(self) -> int: ...
    @property
    def monthly(self) -> int: ...


@dataclass(frozen=True)
class Attempt:
    """The latest backup that was begun, as it left word of itself."""

    at: datetime
    """When it began, or failed (UTC)."""
    fence: int
    """Fencing token of its lease."""
    error: str | None = None
    """Why it failed; None where it never said how it ended: it runs still, was killed, or has committed."""

    def answered(self, snapshots: Sequence[SnapshotFacts]) -> bool:
        """Whether it, or a later one, has committed a snapshot. Tokens order the two, and times must agree, as a
        lease that was deleted by hand counts from 1 again."""
        least = self.fence if self.error is None else self.fence + 1
        return any(
            one.state == "complete" and one.fence >= least and one.created >= self.at for one in snapshots
        )

    @property
    def words(self) -> str:
        """What is known of how it ended."""
        at = f"{self.at:%Y-%m-%d %H:%M:%S} UTC"
        if self.error is None:
            return f"how the backup that began at {at} ended is unknown"
        return f"the last backup failed at {at}: {self.error}"


@dataclass(frozen=True)
class SnapshotFacts:
    """What retention goes by. Times are UTC; None where it did not happen."""

    id: str
    created: datetime
    state: SnapshotState = "complete"
    verified: datetime | None = None
    drilled: datetime | None = None
    failed: datetime | None = None
    pinned: datetime | None = None
    fence: int = 0
    """Fencing token under which it was committed."""

    @property
    def bad(self) -> bool:
        """True where it cannot be relied on: no readable manifest, or the latest check failed.

        A failure in the same second as a success counts as the later one."""
        if self.state != "complete":
            return True
        passed = max((at for at in (self.verified, self.drilled) if at is not None), default=None)
        return self.failed is not None and (passed is None or self.failed >= passed)


@dataclass(frozen=True)
class Verdict:
    """What happens to one snapshot, and why."""

    id: str
    keep: bool
    reason: str


def plan_prune(
    snapshots: Sequence[SnapshotFacts],
    keep: KeepRule,
    now: datetime,
    *,
    attempt: Attempt | None = None,
    zone: tzinfo = UTC,
) -> tuple[Verdict, ...]:
    """One verdict for each snapshot, newest first. A snapshot stays where any rule keeps it.

    The rules are those of `restic forget --keep-*`: for `daily`, the newest good snapshot of each of so many days
    that have any, in `zone`; `weekly` goes by ISO weeks. `attempt` is the latest backup that was begun, where one
    left word of itself.
    """
    newest_first = sorted(snapshots, key=lambda one: one.id, reverse=True)
    doubt = _doubt(newest_first, attempt)
    if doubt:
        return tuple(Verdict(one.id, True, doubt) for one in newest_first)
    return tuple(_verdicts(newest_first, keep, now, zone))


def _doubt(newest_first: Sequence[SnapshotFacts], attempt: Attempt | None) -> str:
    """Why nothing may go, or an empty text."""
    if not newest_first:
        return ""
    if attempt is not None and not attempt.answered(newest_first):
        return f"nothing goes: {attempt.words}"
    newest = newest_first[0]
    if newest.bad:
        what = "failed its check" if newest.state == "complete" else f"is {newest.state}"
        return f"nothing goes while the newest snapshot, {newest.id}, {what}"
    if not any(one.verified is not None and not one.bad for one in newest_first):
        return "nothing goes before a snapshot is verified"
    return ""


def _verdicts(
    newest_first: Sequence[SnapshotFacts], keep: KeepRule, now: datetime, zone: tzinfo
) -> Iterator[Verdict]:
    good = [one for one in newest_first if not one.bad]
    last_verified = next((one.id for one in good if one.verified is not None), None)
    last_drilled = next((one.id for one in good if one.drilled is not None), None)
    newest = {one.id for one in good[: keep.last]}
    periods = _by_period(good, keep, zone)
    for one in newest_first:
        young = keep.days > 0 and now - one.created <= timedelta(days=keep.days)
        if one.pinned is not None:
            yield Verdict(one.id, True, "pinned")
        elif one.state == "newer":
            yield Verdict(one.id, True, "written by a newer version, which must judge it")
        elif one.state == "incomplete":
            yield Verdict(one.id, True, "incomplete: the sweep removes what is left of it")
        elif one.id == last_verified:
            yield Verdict(one.id, True, "the last verified one")
        elif one.id == last_drilled:
            yield Verdict(one.id, True, "the last drilled one")
        elif one.id in newest:
            yield Verdict(one.id, True, f"among the {keep.last} newest")
        elif young:
            yield Verdict(one.id, True, f"not older than {keep.days} days")
        elif one.id in periods:
            yield Verdict(one.id, True, periods[one.id])
        else:
            yield Verdict(one.id, False, _why_gone(one, keep))


def _by_period(good: Sequence[SnapshotFacts], keep: KeepRule, zone: tzinfo) -> dict[str, str]:
    """Ids that stay as the newest of their day, week or month, and which it is."""
    kept: dict[str, str] = {}
    rules = (
        ("day", keep.daily, "%Y-%m-%d"),
        ("week", keep.weekly, "%G-W%V"),
        ("month", keep.monthly, "%Y-%m"),
    )
    for word, count, form in rules:
        seen: set[str] = set()
        for one in good:
            period = one.created.astimezone(zone).strftime(form)
            if period in seen:
                continue
            if len(seen) >= count:
                break
            seen.add(period)
            kept.setdefault(one.id, f"the newest of the {word} {period}")
    return kept


def _why_gone(one: SnapshotFacts, keep: KeepRule) -> str:
    why = f"older than {keep.days} days" if keep.days else f"not among the {keep.last} newest"
    if keep.daily or keep.weekly or keep.monthly:
        why += ", and no other rule keeps it"
    if one.bad:
        why += f" and {'damaged' if one.state == 'damaged' else 'failed'}"
    return why
