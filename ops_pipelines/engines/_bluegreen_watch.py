"""Traffic on a new version, watched until it may stay: the same wherever the two versions run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

import structlog

from ops_pipelines.engines.ports import Clock, Fence, Progress, Traffic
from ops_pipelines.errors import DeployFailed
from ops_pipelines.policy.bluegreen import Look, Rule, Watched, judge

log = structlog.get_logger()


class Watchable(Protocol):
    """One component whose new version gets the traffic."""

    @property
    def component(self) -> str: ...
    @property
    def rule(self) -> Rule: ...
    @property
    def traffic(self) -> Traffic: ...
    @property
    def every(self) -> float: ...
    @property
    def probe(self) -> Callable[[], None]: ...


M = TypeVar("M", bound=Watchable)


def require_countable(moves: Sequence[Watchable]) -> None:
    """Raise DeployFailed where requests of a component cannot be counted, before anything is moved."""
    for one in moves:
        if why := one.traffic.ready():
            raise DeployFailed(
                f"requests of {one.component} cannot be counted, so nothing was moved: {why}",
                remedy=f"mend components.{one.component}.blue_green.readings",
            )


def watch(
    moves: Sequence[M], look: Callable[[M, datetime], Look], now: Clock, fence: Fence, progress: Progress
) -> tuple[Watched, ...]:
    """Watch until every component may stay; `look` takes one and when the watch began. What was seen of each.

    Raises DeployFailed where one must go back."""
    begun = now()
    looks: dict[str, list[Look]] = {one.component: [] for one in moves}
    longest = max(one.rule.watch for one in moves)
    while True:
        fence.check()
        results = []
        for one in moves:
            one.probe()
            seen = look(one, begun)
            looks[one.component].append(seen)
            judged = judge(one.rule, begun, looks[one.component], now())
            results.append(Watched(one.component, tuple(looks[one.component]), judged))
            log.info(
                "watch", component=one.component, requests=seen.requests, errors=seen.errors,
                verdict=judged.verdict, reason=judged.reason,
            )  # fmt: skip
        passed = (now() - begun).total_seconds()
        progress("watch", min(round(passed), round(longest)), round(longest), "seconds")
        if bad := [one for one in results if one.judgement.verdict == "roll back"]:
            words = "; ".join(f"{one.component}: {one.judgement.reason}" for one in bad)
            raise DeployFailed(f"traffic went back to the old version: {words}", remedy="look at its log")
        if all(one.judgement.verdict == "promote" for one in results):
            return tuple(results)
        time.sleep(max(0.05, min(*(one.every for one in moves), longest - passed, longest)))
