"""Deploy on target `compose`: plan, apply, wait, smoke, record; or all back as it was.

What is applied is one rendered project (policy.compose_project), so that an earlier revision is brought back by
applying what it kept. A deploy killed at any step leaves each container in its old version or its new one; the next
one goes on from what it finds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import structlog

from ops_pipelines.engines._deploy_needs import Deployed, require_good
from ops_pipelines.engines.ports import Fence, Progress, silent
from ops_pipelines.errors import CommandFailed, DeployFailed, LeaseLost, OpsError, Unreachable
from ops_pipelines.policy.compose_plan import (
    Container,
    WantedService,
    half_made,
    plan_compose,
    replica_health,
    tidied,
)
from ops_pipelines.policy.compose_project import Project, count_of, image_of, used, volume_name, with_image
from ops_pipelines.policy.compose_ties import remakes_dependents, ties_of, with_containers
from ops_pipelines.policy.compose_words import in_short
from ops_pipelines.policy.compose_words import remedy as remedy_for
from ops_pipelines.policy.plan import Finding, Plan

log = structlog.get_logger()

_TAIL_LINES = 30
_POLL = 0.2
_SLOWEST_POLL = 2.0
_ENGINE_BACK = 60.0
"""Seconds that an engine which went away meanwhile may take to answer again before the way back is given up."""
_MEND = "mend what is named above, then deploy again"


class ComposeTool(Protocol):
    """Docker Compose for one project (adapters/compose.py)."""

    def version(self) -> str: ...
    def ask_ahead(self, file: Path) -> None: ...
    def hashes(self, file: Path) -> dict[str, str]: ...
    def resolved(self, file: Path) -> dict[str, Any]: ...
    def up(
        self,
        file: Path,
        *,
        within: float,
        only: Sequence[str] = (),
        alone: bool = False,
        remove_orphans: bool = True,
    ) -> None: ...
    def down(self, file: Path | None, *, volumes: bool, within: float) -> None: ...


class Engine(Protocol):
    """A Docker Engine (adapters/docker_engine.py)."""

    def containers(self, project: str) -> tuple[Container, ...]: ...
    def image_ids(self, names: Sequence[str]) -> dict[str, str | None]: ...
    def tag(self, image_id: str, name: str) -> None: ...
    def has_volume(self, name: str) -> bool: ...
    def log_tail(self, container: str, lines: int = 30) -> str: ...
    def remove(self, container: str) -> None: ...
    def rename(self, container: str, name: str) -> None: ...
    def stop(self, container: str) -> None: ...


@dataclass(frozen=True)
class Hands:
    """Everything outside that a Compose deploy uses."""

    compose: Callable[[Project], ComposeTool]
    """Compose, with what the project's variables stand for. Raises SecretMissing."""
    engine: Engine
    place: Callable[[Project], Path]
    """Write the project, ready for Compose, and return the file; the same project, the same file."""


def wanted_services(project: Project, file: Path, hands: Hands) -> tuple[WantedService, ...]:
    """The services of a project with their hashes, in the order of their names."""
    compose = hands.compose(project)
    compose.ask_ahead(file)
    hashes, services = compose.hashes(file), compose.resolved(file).get("services") or {}
    images = {name: image_of(project.name, name, services[name]) for name in hashes}
    ids = hands.engine.image_ids(list(images.values()))
    return tuple(
        WantedService(
            name=name,
            config_hash=hashes[name],
            image=images[name],
            image_id=ids[images[name]],
            replicas=count_of(services[name]),
            job=is_job(services[name]),
            ties=ties_of(services[name]),
        )
        for name in sorted(hashes)
    )


def plan(title: str, project: Project, hands: Hands, *, beside: frozenset[str] = frozenset()) -> Plan:
    """What bringing the engine to a project would change. Nothing is changed by it.

    `beside` are services that are made anew beside those that run: what depends on them is left alone."""
    file = hands.place(project)
    wanted, resolved = wanted_services(project, file, hands), hands.compose(project).resolved(file)
    volumes = {
        name: volume_name(project, name)
        for name in used(resolved, "volumes")
        if not (resolved["volumes"][name] or {}).get("external")
    }
    present = [name for name, known in volumes.items() if hands.engine.has_volume(known)]
    containers = hands.engine.containers(project.name)
    wanted = _as_compared(project, resolved["services"], wanted, containers, hands)

    def made(*, dependents_too: bool) -> Plan:
        return plan_compose(
            title,
            wanted,
            containers,
            volumes=list(volumes),
            present_volumes=present,
            dependents_too=dependents_too,
            beside=beside,
        )

    found = made(dependents_too=False)
    anew = {step.subject.removeprefix("component/") for step in found.steps if step.verb == "replace"}
    if any(one.ties.after & (anew - beside) for one in wanted) and remakes_dependents(
        hands.compose(project).version()
    ):
        return made(dependents_too=True)
    return found


def _as_compared(
    project: Project,
    resolved: Mapping[str, Any],
    wanted: tuple[WantedService, ...],
    containers: Sequence[Container],
    hands: Hands,
) -> tuple[WantedService, ...]:
    """The services with the hashes by which Compose compares those that share namespaces of others' containers."""
    there, _ = tidied(containers)
    ids = {
        one.service: one.id for one in sorted(there, key=lambda one: one.name, reverse=True) if not one.oneoff
    }
    joined = with_containers(project, resolved, ids)
    if joined is None:
        return wanted
    hashes = hands.compose(joined).hashes(hands.place(joined))
    return tuple(replace(one, config_hash=hashes[one.name]) for one in wanted)


def deploy(
    stack: str,
    project: Project,
    hands: Hands,
    *,
    plan: Plan,
    before: Project | None,
    fence: Fence,
    record: Callable[[Project], int],
    smoke: Callable[[], tuple[Finding, ...]],
    within: float,
    reason: str = "deploy",
    findings: tuple[Finding, ...] = (),
    progress: Progress = silent,
) -> Deployed:
    """Bring the engine to `project`, as `plan` says. `before` is that of the newest revision, None for a first deploy.

    `within` is how many seconds the containers may take to become healthy. Raises DeployFailed with the earlier
    revision put back, LeaseLost with nothing put back (the stack is somebody else's then)."""
    begun = time.monotonic()
    there = {one.service for one in hands.engine.containers(project.name)}
    log.info("deploy begins", stack_name=stack, reason=reason, changes=len(plan.changes))
    try:
        if not plan.empty:
            fence.check()
            _apply(project, hands, within, progress)
        asked = require_good(smoke())
        fence.check()
        done = with_images(project, hands)
        revision = record(done) if before != done else None
    except LeaseLost:
        raise
    except OpsError as error:
        logs = tails(project, hands)  # before they are replaced
        back = _put_back(before, project, there, hands, fence, within)
        log.error("deploy failed", stack_name=stack, reason=reason, error=type(error).__name__)
        words, remedy = said(error)
        raise DeployFailed(f"the {reason} of {stack} failed: {words}\n{logs}{back}", remedy=remedy) from error
    except BaseException:  # Ctrl-C, or the end of a Dagster run
        back = _put_back(before, project, there, hands, fence, within)
        log.warning("deploy interrupted", stack_name=stack, put_back=back)
        raise
    log.info("deploy ends", stack_name=stack, revision=revision)
    return Deployed(plan, revision, (*findings, *asked), time.monotonic() - begun)


def tidy(project: Project, hands: Hands) -> None:
    """Clear away what a deploy that was killed left half made: Compose stumbles over it."""
    seen = hands.engine.containers(project.name)
    _, go = tidied(seen)
    for one in go:
        hands.engine.remove(one.name)
    for one in seen:
        name = half_made(one)
        if name is not None and one not in go:
            hands.engine.rename(one.name, name)


def _apply(project: Project, hands: Hands, within: float, progress: Progress) -> None:
    tidy(project, hands)
    hands.compose(project).up(hands.place(project), within=within)
    await_healthy(project, hands, within, progress)


def await_healthy(
    project: Project, hands: Hands, within: float, progress: Progress, *, only: Sequence[str] = ()
) -> None:
    """Wait until every container of a project, or of some services of it, is well.

    Raises DeployFailed that names the one that is not."""
    end, services = time.monotonic() + within, only or project.services
    pause, wanted = _POLL, any(count_of(project.services[name]) for name in services)
    while True:
        states = [
            (one, *replica_health(one))
            for one in hands.engine.containers(project.name)
            if not one.oneoff and one.service in services
        ]
        good = sum(1 for _, well, _ in states if well)
        progress("start", good, len(states), "containers")
        waiting = [(one, words) for one, well, words in states if not well]
        if not waiting and (states or not wanted):
            return
        if not waiting and time.monotonic() > end:
            raise DeployFailed(f"no container of {', '.join(services)} is there", remedy=_MEND)
        lost = [
            (one, words)
            for one, words in waiting
            if one.state in ("exited", "dead") or one.health == "unhealthy"
        ]
        if waiting and (lost or time.monotonic() > end):
            container, words = (lost or waiting)[0]
            late = "" if lost else f" after {within:.0f} s"
            raise DeployFailed(
                f"component `{container.service}` ({container.name}) {words}{late}",
                remedy="mend what its log names, then deploy again",
            )
        time.sleep(pause)
        pause = min(pause * 1.1, _SLOWEST_POLL)


def _put_back(
    before: Project | None, failed: Project, there: set[str], hands: Hands, fence: Fence, within: float
) -> str:
    """Bring the earlier revision back and say how it went; never raises an OpsError."""
    try:
        await_engine(failed, hands)
        fence.check()
        if before is not None:
            earlier, gone = as_it_ran(before, hands)
            _apply(earlier, hands, within, silent)
            return "; ".join(("the earlier revision was put back and is healthy", *gone))
        if not there:
            hands.compose(failed).down(hands.place(failed), volumes=False, within=within)
            return "there is no earlier revision, so what the deploy had started was removed; volumes stay"
        return f"there is no recorded revision to go back to; {', '.join(sorted(there))} ran before and were left"
    except OpsError as error:
        return f"putting the earlier revision back failed too: {error.message}; {error.remedy}"


def with_images(project: Project, hands: Hands) -> Project:
    """The project with what each image's name stands for now."""
    wanted = wanted_services(project, hands.place(project), hands)
    return replace(
        project, images={one.name: (one.image, one.image_id) for one in wanted if one.image_id is not None}
    )


def as_it_ran(project: Project, hands: Hands) -> tuple[Project, tuple[str, ...]]:
    """A recorded project with the images that it ran, where their names stand for others by now; and words on each
    that the engine does not have any more: its service then runs what the name stands for."""
    known = hands.engine.image_ids([word for pair in project.images.values() for word in pair])
    words: list[str] = []
    for service, (name, was) in project.images.items():
        if known[name] == was:
            continue
        if known[was] is None:
            words.append(f"{service}: the image that {name} was then is not on the engine any more")
            continue
        held = f"{project.name}-{service}:was-{was.removeprefix('sha256:')[:12]}"
        hands.engine.tag(was, held)
        project = with_image(project, service, held)
    return project, tuple(words)


def await_engine(project: Project, hands: Hands) -> None:
    """Wait for an engine that is being restarted. Raises Unreachable where it does not come back."""
    end = time.monotonic() + _ENGINE_BACK
    while True:
        try:
            hands.engine.containers(project.name)
            return
        except Unreachable:
            if time.monotonic() > end:
                raise
        time.sleep(_SLOWEST_POLL)


def said(error: OpsError) -> tuple[str, str]:
    """What went wrong, and what mends it: of a command that failed, its own words rather than its arguments."""
    if not isinstance(error, CommandFailed):
        return error.message, error.remedy or _MEND
    return in_short(error.output) or error.message, remedy_for(error.output, _MEND)


def tails(project: Project, hands: Hands) -> str:
    """The end of the logs of containers that are not well."""
    words = []
    try:
        for one in hands.engine.containers(project.name):
            if replica_health(one)[0] is not True:
                text = hands.engine.log_tail(one.name, _TAIL_LINES).rstrip() or "(it printed nothing)"
                words.append(f"--- the end of the log of {one.name} ---\n{text}\n---\n")
    except OpsError as error:
        words.append(f"(logs cannot be read: {error.message})\n")
    return "".join(words)


def is_job(service: Mapping[str, Any]) -> bool:
    """Whether a service is to end by itself: it is not restarted, and nothing asks for its health."""
    restart = str(service.get("restart", "no"))
    return restart in ("no", "on-failure") and not service.get("healthcheck") and not service.get("ports")
