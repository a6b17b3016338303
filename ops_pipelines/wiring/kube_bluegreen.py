"""New versions beside old ones on target `kubernetes`: which components go that way, and what it works with."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from ops_pipelines.adapters.traffic import HaproxyCounters, PrometheusQueries
from ops_pipelines.engines import kube as kube_engine
from ops_pipelines.engines import kube_bluegreen as engine
from ops_pipelines.engines._kube_needs import Object
from ops_pipelines.engines.kube_bluegreen import Bench, Move
from ops_pipelines.engines.ports import Fence, Progress, Traffic
from ops_pipelines.errors import OpsError, UsageError
from ops_pipelines.policy.kube_colors import Side, against, is_renewed, side_of, with_moves
from ops_pipelines.policy.kube_objects import containers_of
from ops_pipelines.policy.kube_release import Release
from ops_pipelines.policy.plan import Finding, Plan
from ops_pipelines.stack.bluegreen import BlueGreen, HaproxyReadings, PrometheusReadings
from ops_pipelines.wiring import bluegreen
from ops_pipelines.wiring.kube_site import KubeSite, within

_POLL = 0.2


@dataclass(frozen=True)
class Choice:
    """Which components of a deploy go beside, and why others do not."""

    moves: tuple[Move, ...] = ()
    rules: Mapping[str, tuple[Side, BlueGreen]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def shown(self, plan: Plan) -> Plan:
        """A plan with what this choice makes of it."""
        return with_moves(plan, self.rules, self.notes)


def choose(here: KubeSite, looked: kube_engine.Look, asked: bool | None) -> Choice:
    """Of the components whose pods a deploy makes anew, those that go beside.

    `asked` is what a person said: False for none of them, True for those too that only go when asked, None for
    what is declared. Raises UsageError where a person asks for what nothing declares."""
    rules = bluegreen.require_declared(here.site) if asked else bluegreen.declared(here.site)
    left = engine.left_over(looked.release, here.hands) if rules else ()
    notes = [f"a deploy that was killed left {', '.join(left)}: a deploy settles that first"] if left else []
    if asked is False:
        return Choice(notes=tuple(notes))
    keys, tried = here.workloads(looked.objects), {one.key: one for one in looked.tried}
    chosen: dict[str, tuple[Side, BlueGreen]] = {}
    for name, rule in rules.items():
        one = tried.get(keys[name]) if name in keys else None
        if one is None or one.live is None or not is_renewed(one.live, one.after):
            continue
        if not (rule.automatic or asked):
            continue
        side = side_of(looked.objects, one.key.name) if one.key.kind == "Deployment" else None
        if side is None:
            notes.append(f"{name} is replaced in place: {one.key} is no Deployment")
        elif why := _against(here, looked, side, one.live):
            notes.append(f"{name} is replaced in place: {why}")
        else:
            chosen[name] = (side, rule)
    moves = tuple(_move(name, side, rule) for name, (side, rule) in chosen.items())
    return Choice(moves, chosen, tuple(notes))


def _against(here: KubeSite, looked: kube_engine.Look, side: Side, live: Mapping[str, Any]) -> str:
    """Why a component cannot go beside this time; '' where it can."""
    if not looked.standing.well:
        return "the last change of the release did not end well"
    if not (live.get("status") or {}).get("availableReplicas"):
        return "no pod of it is ready"
    services = here.cluster.listed(f"/api/v1/namespaces/{here.target.namespace}/services")
    return against(side, live, looked.objects, services)


def _move(name: str, side: Side, rule: BlueGreen) -> Move:
    return Move(
        component=name,
        side=side,
        rule=bluegreen.rule_of(rule),
        traffic=_traffic(name, rule),
        every=rule.every,
        drain=rule.drain,
        probe=partial(bluegreen.probe, rule.probe),
    )


def _traffic(name: str, rule: BlueGreen) -> Traffic:
    said = rule.readings
    if isinstance(said, PrometheusReadings):
        return PrometheusQueries(said.url, said.requests, said.errors)
    if isinstance(said, HaproxyReadings):
        return HaproxyCounters(said.url, said.backend)
    raise UsageError(
        f"the requests of {name} cannot be read from the log of a proxy on a cluster",
        remedy=f"make components.{name}.blue_green.readings.kind prometheus",
    )


def bench(here: KubeSite) -> Bench:
    """What a move works with."""
    return Bench(here.hands, partial(_ask, here), lambda: datetime.now(UTC))


def finish(here: KubeSite, fence: Fence, progress: Progress) -> bool:
    """Settle what a killed move left, by what Helm has recorded; False where it left nothing."""
    target = here.target
    release = Release(target.release, target.namespace, "", "")
    longest = bluegreen.longest_drain(here.site)
    return engine.finish(
        release, bench(here), within=within(here.site), drain=longest, fence=fence, progress=progress
    )


def _ask(here: KubeSite, move: Move, pods: Sequence[Object]) -> tuple[Finding, ...]:
    """Ask every pod of a new version, through the API server."""
    asked = here.site.stack.components[move.component].health
    found = []
    for pod in pods:
        subject = f"smoke/{pod['metadata']['name']}"
        port = _port(pod, asked.port)
        if asked.path is None or port is None:
            words = "only its own probes were seen: it declares no health.path, or its pod no port"
            found.append(Finding(subject, None, words, "", "info"))
        else:
            found.append(_answers(here, subject, pod, port, asked.path, asked.within))
    return tuple(found)


def _port(pod: Object, name: str) -> int | None:
    """The port of that name, else the first that the pod names."""
    ports = [one for container in containers_of(pod) for one in container.get("ports") or ()]
    found = [one for one in ports if one.get("name") == name] or ports
    return int(found[0]["containerPort"]) if found else None


def _answers(here: KubeSite, subject: str, pod: Object, port: int, path: str, patience: float) -> Finding:
    """Ask until it answers well, for as long as it may take to become healthy."""
    end = time.monotonic() + patience
    while True:
        try:
            here.cluster.ask_pod(here.target.namespace, str(pod["metadata"]["name"]), port, path)
            return Finding(subject, True, f"answers {path}")
        except OpsError as error:
            if time.monotonic() > end:
                return Finding(subject, False, error.message, "look at its log")
        time.sleep(_POLL)
