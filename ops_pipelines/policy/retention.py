"""Which snapshots stay. What is not known to be good protects nothing, and while in doubt nothing goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

SnapshotState = Literal["complete", "incomplete", "damaged", "newer"]
"""`incomplete` has no manifest, `damaged` an unreadable one, `newer` one of a later format than ours."""


class KeepRule(Protocol):
    """What a declaration says about keeping (stack.operations.Keep)."""

    @property
    def days(self) -> int: ...
    @property
    def last(self) -> int: ...


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


def plan_prune(snapshots: Sequence[SnapshotFacts], keep: KeepRule, now: datetime) -> tuple[Verdict, ...]:
    """One verdict for each snapshot, newest first."""
    newest_first = sorted(snapshots, key=lambda one: one.id, reverse=True)
    doubt = _doubt(newest_first)
    if doubt:
        return tuple(Verdict(one.id, True, doubt) for one in newest_first)
    return tuple(_verdicts(newest_first, keep, now))


def _doubt(newest_first: Sequence[SnapshotFacts]) -> str:
    """Why nothing may go, or an empty text."""
    if not newest_first:
        return ""
    newest = newest_first[0]
    if newest.bad:
        what = "failed its check" if newest.state == "complete" else f"is {newest.state}"
        return f"nothing goes while the newest snapshot, {newest.id}, {what}"
    if not any(one.verified is not None and not one.bad for one in newest_first):
        return "nothing goes before a snapshot is verified"
    return ""


def _verdicts(newest_first: Sequence[SnapshotFacts], keep: KeepRule, now: datetime) -> Iterator[Verdict]:
    good = [one for one in newest_first if not one.bad]
    last_verified = next((one.id for one in good if one.verified is not None), None)
    last_drilled = next((one.id for one in good if one.drilled is not None), None)
    newest = {one.id for one in good[: keep.last]}
    for one in newest_first:
        old = now - one.created > timedelta(days=keep.days)
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
        elif not old:
            yield Verdict(one.id, True, f"not older than {keep.days} days")
        else:
            what = f" and {'damaged' if one.state == 'damaged' else 'failed'}" if one.bad else ""
            yield Verdict(one.id, False, f"older than {keep.days} days{what}")
