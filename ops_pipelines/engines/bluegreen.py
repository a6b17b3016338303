"""A deploy on target `compose` behind a proxy: the new version beside the old one, traffic moved, watched, settled.

    start green -> ask it -> move the traffic -> watch -> settle: the declared service made anew, traffic back to it,
    green removed

Traffic is always with a version that runs. Whatever fails before the settling goes back to the old version, which runs
until then. A deploy that is killed leaves traffic with one of the two; the next one settles first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from ops_pipelines.engines import compose
from ops_pipelines.engines._bluegreen_move import Workers, astray, drain, mend_idle, point
from ops_pipelines.engines._bluegreen_watch import require_countable, watch
from ops_pipelines.engines._deploy_needs import Deployed, require_good
from ops_pipelines.engines.compose import Hands
from ops_pipelines.engines.ports import Clock, Fence, Progress, Proxies, Traffic, silent
from ops_pipelines.errors import DeployFailed, LeaseLost, OpsError
from ops_pipelines.policy.bluegreen import Look, Rule, Watched
from ops_pipelines.policy.bluegreen_project import apart_from, green_name, left_over, with_green
from ops_pipelines.policy.compose_plan import replica_health
from ops_pipelines.policy.compose_project import Project
from ops_pipelines.policy.plan import Finding, Plan

log = structlog.get_logger()


@dataclass(frozen=True)
class Move:
    """One component whose new version gets the traffic."""

    component: str
    names: tuple[str, ...]
    """Names by which the proxy knows it."""
    ports: tuple[int, ...]
    """Ports that it listens on: the one that the proxy knows, then that of its health."""
    rule: Rule
    traffic: Traffic
    every: float
    drain: float
    probe: Callable[[], None] = lambda: None
    """Asks something through the proxy, so that there is something to count."""


@dataclass(frozen=True)
class Bench:
    """Everything outside that a move uses."""

    hands: Hands
    proxies: Proxies
    ask: Callable[[Sequence[Move]], tuple[Finding, ...]]
    """Ask the new versions what they must be able to answer."""
    now: Clock


@dataclass
class _State:
    """How far a deploy is."""

    moved: bool = False
    settling: bool = False


def unfinished(project: Project, bench: Bench) -> bool:
    """Whether a killed deploy left a new version, or a proxy that reads a file that names one."""
    return bool(_left(project, bench) or _moved(bench))


def finish(
    project: Project,
    bench: Bench,
    *,
    within: float,
    drain_for: float,
    fence: Fence,
    progress: Progress = silent,
) -> None:
    """Settle what a killed deploy left; `project` is the recorded one. Does nothing where it left nothing."""
    mend_idle(bench.proxies)
    if _moved(bench):
        settle(project, bench, within=within, drain_for=drain_for, fence=fence, progress=progress)
    elif left := _left(project, bench):
        # The declared service has the traffic, old or new, and runs: it was well when the file was changed to name it.
        # Whether the proxies were told is not known, so they are told again.
        fence.check()
        _drained(project.name, bench, point(bench.proxies, {}), drain_for)
        for one in bench.hands.engine.containers(project.name):
            if one.service in left:
                fence.check()
                bench.hands.engine.stop(one.name)
                bench.hands.engine.remove(one.name)


def _left(project: Project, bench: Bench) -> tuple[str, ...]:
    return left_over(project, {one.service for one in bench.hands.engine.containers(project.name)})


def _moved(bench: Bench) -> bool:
    return any(one.users for one in astray(bench.proxies))


def settle(
    project: Project,
    bench: Bench,
    *,
    within: float,
    drain_for: float,
    fence: Fence,
    progress: Progress = silent,
) -> None:
    """Bring the engine to `project` with its traffic on the declared services, and remove new versions beside them.

    Traffic stays where it is until the declared services are well. Raises DeployFailed where they do not get so."""
    mend_idle(bench.proxies)
    tool, file = bench.hands.compose(project), bench.hands.place(project)
    fence.check()
    compose.tidy(project, bench.hands)
    progress("settle", 0, 3, "steps")
    proxies = {service for one in bench.proxies.files() for _, service in one.users}
    if first := apart_from(project, proxies):
        tool.up(file, within=within, only=first, remove_orphans=False)
    compose.await_healthy(project, bench.hands, within, progress)
    fence.check()
    progress("settle", 1, 3, "steps")
    old = point(bench.proxies, {})
    _drained(project.name, bench, old, drain_for)
    fence.check()
    progress("settle", 2, 3, "steps")
    tool.up(file, within=within)
    compose.await_healthy(project, bench.hands, within, progress)
    progress("settle", 3, 3, "steps")


def deploy(
    stack: str,
    project: Project,
    moves: Sequence[Move],
    bench: Bench,
    *,
    plan: Plan,
    before: Project | None,
    fence: Fence,
    record: Callable[[Project, Sequence[Watched]], int],
    smoke: Callable[[], tuple[Finding, ...]],
    within: float,
    reason: str = "deploy",
    findings: tuple[Finding, ...] = (),
    progress: Progress = silent,
) -> Deployed:
    """Bring the engine to `project`, with the traffic of `moves` never on a version that was not asked and watched.

    Raises DeployFailed with the earlier revision put back, LeaseLost with nothing put back."""
    begun, state = time.monotonic(), _State()
    log.info("blue-green begins", stack_name=stack, components=[one.component for one in moves])
    try:
        asked = _start(project, moves, bench, fence, within, progress)
        _move(moves, bench, state, fence, progress)
        watched = watch(
            moves, lambda one, since: _look(project, one, bench, since), bench.now, fence, progress
        )
        asked += require_good(smoke())
        state.settling = True
        longest = max(one.drain for one in moves)
        settle(project, bench, within=within, drain_for=longest, fence=fence, progress=progress)
        asked += require_good(smoke())
        fence.check()
        revision = record(compose.with_images(project, bench.hands), watched)
    except LeaseLost:
        raise
    except OpsError as error:
        tails = compose.tails(project, bench.hands)
        back = _put_back(project, before, moves, bench, state, fence, within)
        log.error("blue-green failed", stack_name=stack, error=type(error).__name__, put_back=back)
        words, remedy = compose.said(error)
        raise DeployFailed(
            f"the {reason} of {stack} failed: {words}\n{tails}{back}", remedy=remedy
        ) from error
    except BaseException:  # Ctrl-C, or the end of a Dagster run
        back = _put_back(project, before, moves, bench, state, fence, within)
        log.warning("blue-green interrupted", stack_name=stack, put_back=back)
        raise
    log.info("blue-green ends", stack_name=stack, revision=revision)
    seconds = time.monotonic() - begun
    return Deployed(plan, revision, (*findings, *asked), seconds, watched)


def _start(
    project: Project, moves: Sequence[Move], bench: Bench, fence: Fence, within: float, progress: Progress
) -> tuple[Finding, ...]:
    """Start the new versions, wait until they are healthy, and ask them."""
    both = with_green(project, {one.component: one.ports for one in moves})
    greens = [green_name(one.component) for one in moves]
    fence.check()
    progress("start beside", 0, len(greens), "services")
    bench.hands.compose(both).up(
        bench.hands.place(both), within=within, only=greens, alone=True, remove_orphans=False
    )
    compose.await_healthy(both, bench.hands, within, progress, only=greens)
    progress("start beside", len(greens), len(greens), "services")
    return require_good(bench.ask(moves))


def _move(moves: Sequence[Move], bench: Bench, state: _State, fence: Fence, progress: Progress) -> None:
    require_countable(moves)
    fence.check()
    progress("move", 0, 1, "proxies")
    state.moved = True
    point(bench.proxies, {name: green_name(one.component) for one in moves for name in one.names})
    progress("move", 1, 1, "proxies")


def _look(project: Project, move: Move, bench: Bench, begun: datetime) -> Look:
    look = move.traffic.look(begun, bench.now())
    try:
        containers = bench.hands.engine.containers(project.name)
    except OpsError as error:
        return replace(look, at=bench.now(), well=None, reason=look.reason or error.message)
    look = replace(look, at=bench.now())  # a slow answer is no old one
    ours = [(one, *replica_health(one)) for one in containers if one.service == green_name(move.component)]
    bad = [f"{one.name} {words}" for one, well, words in ours if well is False]
    if bad or not ours:
        return replace(look, well=False, reason=bad[0] if bad else "none of its containers is there")
    return look


def _put_back(
    project: Project,
    before: Project | None,
    moves: Sequence[Move],
    bench: Bench,
    state: _State,
    fence: Fence,
    within: float,
) -> str:
    """Bring traffic and services back, and say how it went; never raises an OpsError."""
    longest = max(one.drain for one in moves)
    try:
        compose.await_engine(project, bench.hands)
        fence.check()
        if state.moved and not state.settling:  # the old version still runs: it comes first
            _drained(project.name, bench, point(bench.proxies, {}), longest)
        if before is None:
            return "traffic is with the old version; what was started beside it was left"
        earlier, gone = compose.as_it_ran(before, bench.hands)
        settle(earlier, bench, within=within, drain_for=longest, fence=fence)
    except OpsError as error:
        return f"putting the earlier revision back failed too: {error.message}; {error.remedy}"
    return "; ".join(("the earlier revision was put back and is healthy", *gone))


def _drained(project: str, bench: Bench, old: Workers, within: float) -> None:
    left = drain(bench.proxies, old, within)
    if left:
        log.warning("requests are cut", project=project, processes=left, after=within)
