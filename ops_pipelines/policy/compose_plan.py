"""What a deploy would do to the containers of a Compose project, from what is wanted and what runs.

The rule is Compose's own (`pkg/compose/convergence.go`): a container is made anew where the hash of its service's
configuration, or the image that its name now stands for, is another one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Literal

from ops_pipelines.policy.compose_ties import Ties
from ops_pipelines.policy.plan import Plan, Step, Verb

ContainerState = Literal["created", "running", "paused", "restarting", "removing", "exited", "dead"]
Health = Literal["starting", "healthy", "unhealthy", "none"]


@dataclass(frozen=True)
class Container:
    """One container of a project, as the engine knows it."""

    name: str
    service: str
    number: int
    config_hash: str
    image: str
    """Name under which it was made."""
    image_id: str
    state: ContainerState
    health: Health = "none"
    exit_code: int | None = None
    started: str = ""
    """ISO 8601, UTC; empty where it never started."""
    ports: tuple[int, ...] = ()
    """Ports of this machine that it publishes."""
    oneoff: bool = False
    id: str = ""


@dataclass(frozen=True)
class WantedService:
    """One service as it is to run."""

    name: str
    config_hash: str
    image: str
    image_id: str | None
    """What the image's name stands for on the engine; None where it is not there."""
    replicas: int = 1
    job: bool = False
    """Ends by itself: one that exited with 0 is as wanted."""
    ties: Ties = field(default_factory=Ties)


@dataclass(frozen=True)
class Mount:
    """What a container finds at one of its paths."""

    target: str
    source: str
    """Folder or file of the engine's machine."""
    volume: str = ""
    """Name of the volume that it is; empty for a folder that is mounted."""


@dataclass(frozen=True)
class Behind:
    """What lies behind a path of a container."""

    root: str
    """Folder of the engine's machine that is mounted."""
    inner: str
    """Path below it; empty for the mounted folder itself."""
    volume: str = ""
    """Name of the volume that it is; empty for a folder."""

    @property
    def folder(self) -> str:
        """The folder itself, on the engine's machine."""
        return str(PurePosixPath(self.root) / self.inner)

    @property
    def name(self) -> str:
        """Name of the mounted folder."""
        return PurePosixPath(self.root).name

    @property
    def above(self) -> str:
        """The folder that holds the mounted one."""
        return str(PurePosixPath(self.root).parent)


def behind(inside: PurePosixPath, mounts: Iterable[Mount]) -> Behind | None:
    """What lies behind a path inside a container; None where no mount covers it. The deepest one counts."""
    covering = [one for one in mounts if inside.is_relative_to(one.target)]
    if not covering:
        return None
    deepest = max(covering, key=lambda one: len(PurePosixPath(one.target).parts))
    inner = str(inside.relative_to(deepest.target))
    return Behind(deepest.source, "" if inner == "." else inner, deepest.volume)


_TO_THOSE_THERE: tuple[Verb, ...] = ("keep", "start", "restart", "replace")
_HALF_MADE = re.compile(r"^[0-9a-f]{12}_(.+)$")
"""Compose makes the successor of a container under the old one's id and name, removes the old one, and only then gives
the successor its name (`pkg/compose/convergence.go`, recreateContainer)."""


def half_made(container: Container) -> str | None:
    """Name that a container was to get when a deploy was killed; None for one that has its name."""
    found = _HALF_MADE.match(container.name)
    return found[1] if found and container.state == "created" else None


def tidied(containers: Sequence[Container]) -> tuple[tuple[Container, ...], tuple[Container, ...]]:
    """What is there once half-made containers are cleared away, and those that are then removed.

    One whose predecessor is still there is removed: it never ran. Else it gets its name: it carries the volumes without
    a name of the predecessor, which nothing else refers to."""
    names = {one.name for one in containers}
    stay, go = [], []
    for one in containers:
        name = half_made(one)
        if name is None:
            stay.append(one)
        elif name in names:
            go.append(one)
        else:
            names.add(name)
            stay.append(replace(one, name=name))
    return tuple(stay), tuple(go)


def plan_compose(
    title: str,
    wanted: Sequence[WantedService],
    containers: Sequence[Container],
    *,
    volumes: Sequence[str] = (),
    present_volumes: Sequence[str] = (),
    dependents_too: bool = False,
    beside: frozenset[str] = frozenset(),
) -> Plan:
    """Steps by service, in the order of `wanted`; then what is removed because nothing declares it.

    `dependents_too`: whether Compose makes anew what depends on what it makes anew (`remakes_dependents`); what
    depends on those that are made `beside` the running ones is left alone."""
    steps = [
        Step("create", f"volume/{name}", "it is not there") for name in volumes if name not in present_volumes
    ]
    by_service: dict[str, list[Container]] = {}
    there, left = tidied(containers)
    steps += [
        Step("remove", f"container/{one.name}", "a deploy that was killed left it half made") for one in left
    ]
    for container in there:
        if not container.oneoff:
            by_service.setdefault(container.service, []).append(container)
    of_services = {one.name: _service_steps(one, by_service.pop(one.name, [])) for one in wanted}
    ties = {
        one.name: replace(one.ties, after=one.ties.after - beside, restarts=one.ties.restarts - beside)
        for one in wanted
    }
    _carry_over(ties, of_services, dependents_too=dependents_too)
    steps += [step for each in of_services.values() for step in each]
    for name, more in by_service.items():
        steps.append(Step("remove", f"component/{name}", f"{len(more)} container(s), which nothing declares"))
    return Plan(title, tuple(steps))


def _carry_over(ties: Mapping[str, Ties], steps: dict[str, list[Step]], *, dependents_too: bool) -> None:
    """Change the steps of services that hang on others which are made anew."""
    waiting = [name for name, each in steps.items() if _verb(each) == "replace"]
    while waiting:
        anew = waiting.pop()
        for name, tie in ties.items():
            if _verb(steps[name]) not in ("keep", "start", "restart"):
                continue
            if anew in tie.uses or (dependents_too and anew in tie.after):
                why = (
                    "uses its network, its namespaces or its volumes" if anew in tie.uses else "depends on it"
                )
                steps[name] = _instead(steps[name], "replace", f"{anew} is made anew, and {name} {why}")
                waiting.append(name)
            elif anew in tie.restarts and _verb(steps[name]) == "keep":
                steps[name] = _instead(steps[name], "restart", f"{anew} is made anew (`restart: true`)")


def _verb(steps: Sequence[Step]) -> Verb | None:
    """What is done to the containers that are there; None where there are none."""
    first = next((one for one in steps if one.verb in _TO_THOSE_THERE), None)
    return first.verb if first else None


def _instead(steps: Sequence[Step], verb: Verb, why: str) -> list[Step]:
    return [Step(verb, one.subject, why) if one.verb in _TO_THOSE_THERE else one for one in steps]


def _service_steps(wanted: WantedService, there: Sequence[Container]) -> list[Step]:
    subject = f"component/{wanted.name}"
    if not there:
        if wanted.replicas == 0:
            return [Step("keep", subject, "no replica is wanted, and none is there")]
        fetch = [] if wanted.image_id else [Step("fetch", f"image/{wanted.image}", "it is not on the engine")]
        return [*fetch, Step("create", subject, f"{wanted.replicas} x {wanted.image}")]
    steps: list[Step] = []
    kept = sorted(there, key=lambda one: one.number)[: wanted.replicas]
    if wanted.image_id is None and any(one.config_hash != wanted.config_hash for one in kept):
        steps.append(Step("fetch", f"image/{wanted.image}", "it is not on the engine"))
    reason = next((why for one in kept if (why := _outdated(wanted, one))), "")
    if reason:
        steps.append(Step("replace", subject, reason))
    elif stopped := [one for one in kept if not _runs(wanted, one)]:
        steps.append(Step("start", subject, f"{', '.join(one.name for one in stopped)} {_words(stopped[0])}"))
    if len(there) < wanted.replicas:
        steps.append(
            Step("create", subject, f"{wanted.replicas - len(there)} more, {wanted.replicas} in all")
        )
    elif len(there) > wanted.replicas:
        steps.append(Step("remove", subject, f"{len(there) - wanted.replicas} of {len(there)} replicas"))
    return steps or [Step("keep", subject, f"{len(there)} x {wanted.image}")]


def _outdated(wanted: WantedService, container: Container) -> str:
    if container.image != wanted.image:
        return f"image {container.image} -> {wanted.image}"
    if container.config_hash != wanted.config_hash:
        return "its configuration, a mounted file or a secret has changed"
    if wanted.image_id is not None and container.image_id != wanted.image_id:
        return f"{wanted.image} stands for another image now"
    return ""


def _runs(wanted: WantedService, container: Container) -> bool:
    if container.state in ("running", "restarting"):
        return True
    return wanted.job and container.state == "exited" and container.exit_code == 0


def _words(container: Container) -> str:
    code = f" with {container.exit_code}" if container.exit_code is not None else ""
    return f"is {container.state}{code}"


def replica_health(container: Container) -> tuple[bool | None, str]:
    """Whether a container is well, with words: False is bad, None is not known yet, or never checked."""
    if container.state != "running":
        good = container.state == "exited" and container.exit_code == 0
        return (True, "ended well") if good else (False, _words(container))
    words: Mapping[Health, tuple[bool | None, str]] = {
        "healthy": (True, "healthy"),
        "unhealthy": (False, "its healthcheck fails"),
        "starting": (None, "its healthcheck has not passed yet"),
        "none": (True, "running; it has no healthcheck"),
    }
    return words[container.health]
