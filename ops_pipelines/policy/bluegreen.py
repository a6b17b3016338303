"""Whether traffic stays with the new version, goes back to the old one, or is watched longer. Pure.

requirements.md, fault 15: a script that takes a metric that is not there for 0 errors promotes whatever it is given,
and one that looks at errors a second promotes what nobody asks. So it is a share of requests, of at least so many, and
what is unknown goes back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Verdict = Literal["hold", "promote", "roll back"]


@dataclass(frozen=True)
class Rule:
    """What a watch goes by. Times are seconds."""

    watch: float
    ratio: float
    """Largest share of requests that may fail."""
    requests: int
    """Fewest requests from which anything can be concluded."""
    unknown_for: float
    """How long readings may be unknown."""


@dataclass(frozen=True)
class Look:
    """What was seen at one moment since the traffic was moved."""

    at: datetime
    requests: float | None
    """Requests since the move; None where that is unknown."""
    errors: float | None
    """Those of them that failed; None where that is unknown."""
    well: bool | None = True
    """Whether every container of the new version is well; None where that is unknown."""
    reason: str = ""
    """Why something is unknown, or what is not well."""

    @property
    def known(self) -> bool:
        """Whether all of it was measured, and can be."""
        if self.well is None or self.requests is None or self.errors is None:
            return False
        both = math.isfinite(self.requests) and math.isfinite(self.errors)
        return both and 0 <= self.errors <= self.requests


@dataclass(frozen=True)
class Judgement:
    """What is to be done, and why."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class Watched:
    """What the watch of one component saw."""

    component: str
    looks: tuple[Look, ...]
    judgement: Judgement


def judge(rule: Rule, moved: datetime, looks: Sequence[Look], now: datetime) -> Judgement:
    """What `looks`, oldest first, say at `now` of a version that has had the traffic since `moved`."""
    over = (now - moved).total_seconds() >= rule.watch
    last = looks[-1] if looks else None
    if last is not None and last.well is False:
        return Judgement("roll back", f"the new version is not well: {last.reason or 'it failed its check'}")
    known = [one for one in looks if one.known]
    fresh = last is not None and last.known and (now - last.at).total_seconds() <= rule.unknown_for
    if last is None or not fresh:
        since = known[-1].at if known else moved
        return _unknown(rule, (now - since).total_seconds(), last, over=over)
    requests, errors = last.requests or 0.0, last.errors or 0.0
    if any((one.requests or 0.0) > requests or (one.errors or 0.0) > errors for one in known):
        return Judgement("roll back", "the counters went back: what was counted before is lost")
    words = f"{errors:.0f} of {requests:.0f} requests failed"
    # Below the fewest requests, this is what no further good ones could mend.
    if errors > rule.ratio * max(requests, rule.requests):
        return Judgement("roll back", f"{words}; {rule.ratio:.2%} may")
    if not over:
        return Judgement("hold", words)
    if requests < rule.requests:
        return Judgement(
            "roll back", f"only {requests:.0f} requests in {rule.watch:g} s; {rule.requests} tell enough"
        )
    return Judgement("promote", f"{words} in {rule.watch:g} s; {rule.ratio:.2%} may")


def _unknown(rule: Rule, seconds: float, last: Look | None, *, over: bool) -> Judgement:
    why = last.reason if last is not None and last.reason else "there is no reading"
    if over or seconds > rule.unknown_for:
        return Judgement("roll back", f"how it does is unknown since {seconds:.0f} s: {why}")
    return Judgement("hold", f"unknown: {why}")


def revision_note(reason: str, watched: Sequence[Watched]) -> str:
    """How a revision is noted that came this way."""
    words = "; ".join(f"{one.component}: {one.judgement.reason}" for one in watched)
    return f"{reason}, blue-green ({words})"


def rows(watched: Sequence[Watched]) -> list[dict[str, object]]:
    """What watches saw, as lines for people."""
    return [
        {"component": one.component, "at": look.at.isoformat(timespec="seconds"), "requests": look.requests,
         "errors": look.errors, "well": look.well, "reason": look.reason}
        for one in watched
        for look in one.looks
    ]  # fmt: skip
