"""New versions beside old ones on target `compose`: which components go that way, and what it works with."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from ops_pipelines.adapters import health
from ops_pipelines.adapters.live_proxies import LiveProxies
from ops_pipelines.adapters.machine import LocalMachine
from ops_pipelines.adapters.traffic import HaproxyCounters, NginxLog, PrometheusQueries
from ops_pipelines.engines import bluegreen as engine
from ops_pipelines.engines.bluegreen import Bench, Move
from ops_pipelines.engines.ports import Fence, Progress, Traffic
from ops_pipelines.policy.bluegreen_plan import replaced, two_fit, with_moves
from ops_pipelines.policy.bluegreen_project import green_name, names_of, needs, port_of, texts
from ops_pipelines.policy.compose_project import Project
from ops_pipelines.policy.plan import Finding, Plan
from ops_pipelines.stack.bluegreen import BlueGreen, HaproxyReadings, NginxReadings
from ops_pipelines.wiring import asking, bluegreen
from ops_pipelines.wiring.compose_site import ComposeSite

_POLL = 0.2


@dataclass(frozen=True)
class Choice:
    """Which components of a deploy go beside, and why others do not."""

    moves: tuple[Move, ...] = ()
    rules: Mapping[str, BlueGreen] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def shown(self, plan: Plan) -> Plan:
        """A plan with what this choice makes of it."""
        return with_moves(plan, self.rules, self.notes)


def findings(here: ComposeSite) -> tuple[Finding, ...]:
    """What keeps components from going the way that they declare, as their files show it."""
    return tuple(
        one
        for name, rule in bluegreen.declared(here.site).items()
        for one in needs(here.project, name, rule.door)
    )


def choose(here: ComposeSite, project: Project, plan: Plan, asked: bool | None) -> Choice:
    """Of the components that a plan makes anew, those that go beside.

    `asked` is what a person said: False for none of them, True for those too that only go when asked, None for
    what is declared. Raises UsageError where a person asks for what nothing declares."""
    rules = bluegreen.require_declared(here.site) if asked else bluegreen.declared(here.site)
    if asked is False:
        return Choice()
    anew = replaced(plan)
    chosen: dict[str, BlueGreen] = {}
    notes: list[str] = []
    for name, rule in rules.items():
        if name not in anew or not (rule.automatic or asked) or name not in project.services:
            continue
        if why := _against(here, name, rule):
            notes.append(
                f"{name} is stopped before its new version starts, and answers nobody meanwhile: {why}"
            )
        else:
            chosen[name] = rule
    notes += [
        f"{proxy} itself changes too: it is made anew in the end, which drops its connections"
        for proxy in sorted({rule.door for rule in chosen.values()} & set(anew))
    ]
    moves = tuple(_move(here, project, name, rule) for name, rule in chosen.items())
    return Choice(moves, chosen, tuple(notes))


def _against(here: ComposeSite, name: str, rule: BlueGreen) -> str:
    """Why a component cannot go beside this time; '' where it can."""
    running = [one for one in here.docker.containers(here.target.project) if one.state == "running"]
    if not any(one.service == name for one in running):
        return "no container of it runs"
    mounting = {service for one in bench(here).proxies.files() for _, service in one.users}
    if rule.door not in mounting:
        return f"{rule.door} does not run with a configuration that can change in place; it does after this deploy"
    component = here.site.stack.components[name]
    machine = LocalMachine(here.site.settings.environ.get("PATH", ""))
    cards = machine.cards() if here.docker.is_local else "the engine is on another machine"
    fits, words = two_fit(
        component.resources, component.replicas, cards, machine.memory() if here.docker.is_local else None
    )
    return "" if fits else words


def _move(here: ComposeSite, project: Project, name: str, rule: BlueGreen) -> Move:
    names = names_of(project, name)
    found = (port_of(text, names) for text in texts(project, rule.door))
    ports = [port for port in found if port is not None][:1]
    asked = here.site.stack.components[name].health
    other = here.site.stack.components[name].ports.get(asked.port)
    if asked.path is not None and asked.port != "http" and other is not None and other not in ports:
        ports.append(other)
    return Move(
        component=name,
        names=names,
        ports=tuple(ports),
        rule=bluegreen.rule_of(rule),
        traffic=_traffic(here, rule),
        every=rule.every,
        drain=rule.drain,
        probe=partial(bluegreen.probe, rule.probe),
    )


def _traffic(here: ComposeSite, rule: BlueGreen) -> Traffic:
    said = rule.readings
    if isinstance(said, HaproxyReadings):
        return HaproxyCounters(said.url, said.backend)
    if isinstance(said, NginxReadings):
        return NginxLog(partial(_proxies(here).printed, rule.door), said.path)
    return PrometheusQueries(said.url, said.requests, said.errors)


def _proxies(here: ComposeSite) -> LiveProxies:
    return LiveProxies(here.docker, here.target.project, here.live, here.live.with_name("files"))


def bench(here: ComposeSite) -> Bench:
    """What a move works with."""
    return Bench(here.hands(), _proxies(here), partial(_ask, here), lambda: datetime.now(UTC))


def finish(here: ComposeSite, project: Project, *, within: float, fence: Fence, progress: Progress) -> None:
    """Settle what a killed move left, `project` being the recorded one; does nothing where it left nothing."""
    longest = bluegreen.longest_drain(here.site)
    engine.finish(project, bench(here), within=within, drain_for=longest, fence=fence, progress=progress)


def is_unfinished(here: ComposeSite, project: Project) -> bool:
    """Whether a killed move left something."""
    return engine.unfinished(project, bench(here))


def _ask(here: ComposeSite, moves: Sequence[Move]) -> tuple[Finding, ...]:
    """Ask every container of the new versions, and one of them the smoke test where it serves its model."""
    found: list[Finding] = []
    smoke = here.site.stack.smoke
    for move in moves:
        green = green_name(move.component)
        containers = [one for one in here.docker.containers(here.target.project) if one.service == green]
        found += [_answers(here, move, one.name) for one in containers]
        serves = smoke is not None and here.site.stack.models[smoke.model].served_by == move.component
        at = here.docker.door(containers[0].name, move.ports[0]) if containers else None
        if serves and at is not None:
            found += asking.smoke(here.site, {move.component: f"http://{at}"})
    return tuple(found)


def _answers(here: ComposeSite, move: Move, container: str) -> Finding:
    """Ask until it answers well, for as long as it may take to become healthy."""
    asked = here.site.stack.components[move.component].health
    address = here.docker.door(container, move.ports[-1] if asked.path else move.ports[0])
    subject = f"smoke/{container}"
    if address is None:
        return Finding(
            subject, None, "it cannot be reached from here, only its own healthcheck was seen", "", "info"
        )
    end = time.monotonic() + asked.within
    while True:
        found = health.check_address(subject, f"http://{address}" if asked.path else address, path=asked.path)
        if found.ok or time.monotonic() > end:
            return found
        time.sleep(_POLL)
