"""A deploy on target `kubernetes`: the new version beside the old one, traffic moved, watched, settled.

    Services pinned to blue -> green started -> asked -> Services to green -> watch -> settle: the declared Deployment
    made anew without traffic, Helm applies all of it, traffic back to it, green removed

Traffic is always with a version that runs. Whatever fails before the settling goes back to the old version, which runs
until then. A deploy that is killed leaves traffic with one of the two; the next one settles first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import structlog

from ops_pipelines.engines import kube
from ops_pipelines.engines._bluegreen_watch import require_countable, watch
from ops_pipelines.engines._deploy_needs import Deployed, require_good
from ops_pipelines.engines._kube_needs import Hands, Object
from ops_pipelines.engines._kube_point import (
    astray,
    beside,
    blue,
    point,
    remove,
    renew,
    settle,
    workload_path,
)
from ops_pipelines.engines._kube_state import Standing, mend, standing
from ops_pipelines.engines._kube_watch import await_well, seen, tails
from ops_pipelines.engines.ports import Clock, Fence, Progress, Traffic, silent
from ops_pipelines.errors import DeployFailed, LeaseLost, OpsError
from ops_pipelines.policy.bluegreen import Look, Rule, Watched
from ops_pipelines.policy.kube_colors import (
    COLOR,
    GREEN,
    TRAFFIC,
    Side,
    Thing,
    green_name,
    greens,
    name_of,
    side_of,
)
from ops_pipelines.policy.kube_objects import Key, key_of, replicas_of
from ops_pipelines.policy.kube_release import Release
from ops_pipelines.policy.plan import Finding, Plan

log = structlog.get_logger()

_GREEN = {COLOR: GREEN}


@dataclass(frozen=True)
class Move:
    """One component whose new version gets the traffic."""

    component: str
    side: Side
    """As the new version of the chart has it."""
    rule: Rule
    traffic: Traffic
    every: float
    drain: float
    probe: Callable[[], None] = lambda: None
    """Asks something through the Service, so that there is something to count."""


@dataclass(frozen=True)
class Bench:
    """Everything outside that a move uses."""

    hands: Hands
    ask: Callable[[Move, Sequence[Object]], tuple[Finding, ...]]
    """Ask the pods of a new version what they must be able to answer."""
    now: Clock


@dataclass
class _State:
    """How far a deploy is."""

    settling: bool = False
    pods: dict[str, int] = field(default_factory=dict)
    """Component -> pods that its new version began with."""


def finish(
    release: Release,
    bench: Bench,
    *,
    within: float,
    drain: float,
    fence: Fence,
    progress: Progress = silent,
) -> bool:
    """Settle what a killed deploy left, by what Helm has recorded; False where it left nothing."""
    cluster = bench.hands.cluster
    left = beside(release, cluster)
    now = standing(release, bench.hands)
    stray = astray(release, now.objects, cluster)
    if not left and not stray:
        return False
    now, _ = mend(now, fence.token, within=within)
    log.warning("settles what was left", release=release.name, beside=[name_of(one) for one in left])
    names = _names(now.objects, left, stray)
    settle(
        release, now.objects, names, bench.hands, within=within, drain=drain, fence=fence, progress=progress
    )
    return True


def left_over(release: Release, hands: Hands) -> tuple[str, ...]:
    """What a killed deploy left: Deployments beside others, Services that do not send where the chart says."""
    there = [f"Deployment/{name_of(one)}" for one in beside(release, hands.cluster)]
    path = f"/api/v1/namespaces/{release.namespace}/services"
    stray = hands.cluster.listed(path, labelSelector=TRAFFIC)
    return (*there, *(f"Service/{name_of(one)}" for one in stray))


def _names(objects: Sequence[Object], left: Sequence[Object], stray: Sequence[Object]) -> list[str]:
    """Deployments of a release that have something beside them, or a Service that is pointed at one version."""
    there, services = {name_of(one) for one in left}, {name_of(one) for one in stray}
    sides = [
        side
        for one in objects
        if one.get("kind") == "Deployment" and (side := side_of(objects, name_of(one))) is not None
    ]
    return [
        side.name
        for side in sides
        if green_name(side.name) in there or services & {name_of(one) for one in side.services}
    ]


def deploy(
    stack: str,
    looked: kube.Look,
    moves: Sequence[Move],
    bench: Bench,
    *,
    plan: Plan,
    fence: Fence,
    record: Callable[[Release, Sequence[Watched]], int],
    smoke: Callable[[], tuple[Finding, ...]],
    within: float,
    reason: str = "deploy",
    findings: tuple[Finding, ...] = (),
    force_conflicts: bool = False,
    progress: Progress = silent,
) -> Deployed:
    """Bring the cluster to what was looked at, with the traffic of `moves` never on a version that was not asked and
    watched. Raises DeployFailed with the earlier state put back, LeaseLost with nothing put back."""
    begun, state, hands = time.monotonic(), _State(), bench.hands
    release, names = looked.release, [one.side.name for one in moves]
    log.info("blue-green begins", stack_name=stack, components=[one.component for one in moves])
    fence.check()
    now, _ = mend(looked.standing, fence.token, within=within)
    try:
        asked = _start(looked, now, moves, bench, state, fence, within, progress)
        _move(release, moves, bench, fence, progress)
        watched = watch(
            moves, lambda one, since: _look(release, one, bench, state, since), bench.now, fence, progress
        )
        asked += require_good(smoke())
        state.settling = True
        renew(release, looked.objects, names, hands, within=within, fence=fence, progress=progress)
        fence.check()
        kube.apply(release, hands, fence, within, force_conflicts=force_conflicts)
        await_well(
            looked.objects, release.namespace, hands, within=within, check=fence.check, progress=progress
        )
        asked += require_good(smoke())
        settle(
            release, looked.objects, names, hands, within=within, drain=max(one.drain for one in moves),
            fence=fence, progress=progress,
        )  # fmt: skip
        fence.check()
        revision = record(release, watched)
    except LeaseLost:
        raise
    except OpsError as error:
        logs = _tails(release, looked.objects, hands)
        back = _put_back(looked, now, moves, bench, state, fence, within)
        log.error("blue-green failed", stack_name=stack, error=type(error).__name__, put_back=back)
        words, remedy = kube.said(error)
        raise DeployFailed(f"the {reason} of {stack} failed: {words}\n{logs}{back}", remedy=remedy) from error
    except BaseException:  # Ctrl-C, or the end of a Dagster run
        back = _put_back(looked, now, moves, bench, state, fence, within)
        log.warning("blue-green interrupted", stack_name=stack, put_back=back)
        raise
    log.info("blue-green ends", stack_name=stack, revision=revision)
    seconds = time.monotonic() - begun
    return Deployed(plan, revision, (*findings, *asked), seconds, watched)


def _start(
    looked: kube.Look,
    now: Standing,
    moves: Sequence[Move],
    bench: Bench,
    state: _State,
    fence: Fence,
    within: float,
    progress: Progress,
) -> tuple[Finding, ...]:
    """Start the new versions where no Service sends to them, wait until they are well, and ask them."""
    release, cluster, made = looked.release, bench.hands.cluster, list[Object]()
    changed = _changed(looked)
    progress("start beside", 0, len(moves), "components")
    for one in moves:
        # The new version's pods have the labels by which Services find the old one's: those must tell them apart
        # before there are any.
        was = side_of(now.objects, one.side.name) or one.side
        point(was, blue(was, release, cluster), release, cluster, fence)
        live = cluster.get(workload_path(release.namespace, one.side.name))
        pods = state.pods[one.component] = max(1, replicas_of(live) or 1)
        for each in greens(one.side, release.name, pods, changed):
            fence.check()
            cluster.apply(each, release.namespace)
            made.append(each)
    await_well(made, release.namespace, bench.hands, within=within, check=fence.check, progress=progress)
    found: tuple[Finding, ...] = ()
    for one in moves:
        key = _key(release, one)
        [there] = seen(cluster, [key])
        found += bench.ask(one, there.every)
    progress("start beside", len(moves), len(moves), "components")
    return require_good(found)


def _changed(looked: kube.Look) -> set[Thing]:
    """Objects of the release that the old version has otherwise, or not at all."""
    before = {key_of(one, looked.release.namespace): one for one in looked.standing.objects}
    return {
        (str(one["kind"]), name_of(one))
        for one in looked.objects
        if before.get(key_of(one, looked.release.namespace)) != one
    }


def _key(release: Release, move: Move) -> Key:
    made = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": green_name(move.side.name)}}
    return key_of(made, release.namespace)


def _move(release: Release, moves: Sequence[Move], bench: Bench, fence: Fence, progress: Progress) -> None:
    require_countable(moves)
    progress("move", 0, len(moves), "components")
    for number, one in enumerate(moves):
        point(one.side, _GREEN, release, bench.hands.cluster, fence)
        progress("move", number + 1, len(moves), "components")


def _look(release: Release, move: Move, bench: Bench, state: _State, begun: datetime) -> Look:
    look = move.traffic.look(begun, bench.now())
    try:
        _keep_up(release, move, bench)
        [there] = seen(bench.hands.cluster, [_key(release, move)])
    except OpsError as error:
        return replace(look, at=bench.now(), well=None, reason=look.reason or error.message)
    look = replace(look, at=bench.now())  # a slow answer is no old one
    if there.workload is None:
        return replace(look, well=False, reason="its Deployment is gone")
    fallen = [
        str(pod["metadata"]["name"])
        for pod in there.every
        for one in (pod.get("status") or {}).get("containerStatuses") or ()
        if one.get("restartCount")
    ]
    if fallen:
        return replace(look, well=False, reason=f"a container of pod {fallen[0]} ended and was started again")
    ready = int((there.workload.get("status") or {}).get("availableReplicas", 0))
    if ready < state.pods[move.component]:
        return replace(look, well=False, reason=f"{ready} of {state.pods[move.component]} pods are ready")
    return look


def _keep_up(release: Release, move: Move, bench: Bench) -> None:
    """Give the new version as many pods as an autoscaler gives the old one, whose pods and load it counts as one."""
    cluster, name = bench.hands.cluster, green_name(move.side.name)
    old = cluster.get(workload_path(release.namespace, move.side.name))
    new = cluster.get(workload_path(release.namespace, name))
    wanted = replicas_of(old) or 1
    if wanted > (replicas_of(new) or 0):
        log.info("follows the autoscaler", component=move.component, pods=wanted)
        cluster.merge(workload_path(release.namespace, name), {"spec": {"replicas": wanted}})


def _tails(release: Release, objects: Sequence[Object], hands: Hands) -> str:
    try:
        return tails(
            [*objects, *(_kinded(one) for one in beside(release, hands.cluster))], release.namespace, hands
        )
    except OpsError:
        return ""


def _kinded(found: Object) -> Object:
    """An item of a list, which does not say what it is."""
    return {"apiVersion": "apps/v1", "kind": "Deployment", **found}


def _put_back(
    looked: kube.Look,
    was: Standing,
    moves: Sequence[Move],
    bench: Bench,
    state: _State,
    fence: Fence,
    within: float,
) -> str:
    """Bring traffic and Deployments back, and say how it went; never raises an OpsError."""
    release, hands = looked.release, bench.hands
    drain = max(one.drain for one in moves)
    try:
        kube.await_server(hands)
        fence.check()
        if state.settling:  # the new version did well: it has the traffic while the old one comes back
            there = {name_of(one) for one in beside(release, hands.cluster)}
            for one in moves:
                if green_name(one.side.name) in there:
                    point(one.side, _GREEN, release, hands.cluster, fence)
        names = [one.side.name for one in moves]
        settle(release, was.objects, names, hands, within=within, drain=drain, fence=fence)
        if state.settling:
            now, _ = mend(standing(release, hands), fence.token + 1, within=within)
            stood = was.deployed
            if stood is not None and now.latest is not None and now.latest.revision != stood.revision:
                hands.helm.back(stood.revision, within=within, force_conflicts=True)
            await_well(was.objects, release.namespace, hands, within=within, check=fence.check)
    except OpsError as error:
        words, remedy = kube.said(error)
        return f"putting back what ran before failed too: {words}; {remedy}"
    return "traffic is with what ran before, which is healthy"


__all__ = ["Bench", "Move", "deploy", "finish", "left_over", "remove"]
