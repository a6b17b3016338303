"""A Compose project with the new version of a component beside the old one, and the proxy's text that names either.

The new version is a service of its own, `NAME-green`, made of the declared one: on the same networks under its own name
only, with the same volumes, its port published on a free port of 127.0.0.1 so that it can be asked before anybody
else asks it. https://docs.docker.com/reference/compose-file/services/ has the keys.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ops_pipelines.policy.compose_project import Project, pinned_of
from ops_pipelines.policy.plan import Finding

_END = "-green"
_OWN = ("container_name", "ports", "mac_address", "profiles", "links", "external_links")
"""What only one of two may have, or what only the declared one is for."""


@dataclass(frozen=True)
class LiveFile:
    """One configuration file of a proxy that may change while the proxy runs."""

    path: Path
    declared: str
    """Its text as it is declared."""
    users: tuple[tuple[str, str], ...]
    """(container, service) of the running containers that mount it."""


def green_name(component: str) -> str:
    """Service of a component's new version."""
    return f"{component}{_END}"


def left_over(project: Project, services: set[str]) -> tuple[str, ...]:
    """Of the services that have containers, new versions that a killed deploy left."""
    return tuple(sorted(
        name for name in services
        if name.endswith(_END) and name not in project.services and name.removesuffix(_END) in project.services
    ))  # fmt: skip


def with_green(project: Project, ports: Mapping[str, Sequence[int]]) -> Project:
    """The project with a new version beside each component of `ports`, which gives those that it listens on."""
    model = copy.deepcopy(dict(project.model))
    for component, numbers in ports.items():
        one = copy.deepcopy(model["services"][component])
        for key in _OWN:
            one.pop(key, None)
        one["ports"] = [{"target": port, "host_ip": "127.0.0.1", "protocol": "tcp"} for port in numbers]
        if isinstance(one.get("networks"), dict):
            one["networks"] = dict.fromkeys(one["networks"])
        model["services"][green_name(component)] = one
    return replace(project, model=model)


def apart_from(project: Project, proxies: Collection[str]) -> tuple[str, ...]:
    """Services that neither are one of `proxies` nor wait for one.

    Compose makes anew whatever waits for a service that is made anew (pkg/compose/convergence.go,
    setDependentLifecycle): with these alone, it leaves the proxies be."""

    def reaches(name: str, seen: frozenset[str]) -> bool:
        if name in proxies:
            return True
        below = project.services.get(name, {}).get("depends_on") or ()
        return any(reaches(one, seen | {name}) for one in below if one not in seen)

    return tuple(name for name in project.services if not reaches(name, frozenset()))


def names_of(project: Project, component: str) -> tuple[str, ...]:
    """Names by which other containers of the project reach a component."""
    service = project.services[component]
    found = [component]
    if name := service.get("container_name"):
        found.append(str(name))
    networks = service.get("networks")
    for one in networks.values() if isinstance(networks, Mapping) else ():
        found += [str(alias) for alias in (one or {}).get("aliases") or ()]
    return tuple(dict.fromkeys(found))


def moved(text: str, names: Mapping[str, str]) -> str:
    """A proxy's configuration with each `NAME:PORT` of `names` replaced by its new name."""
    if not names:
        return text
    return _places(names).sub(lambda match: names[match[1]], text)


def places(text: str, names: Mapping[str, str]) -> int:
    """How many times a proxy's configuration names one of `names` with a port."""
    return len(_places(names).findall(text)) if names else 0


def port_of(text: str, names: Sequence[str]) -> int | None:
    """Port at which a proxy's configuration reaches one of `names`."""
    found = re.search(_places(dict.fromkeys(names, "")).pattern + r":(\d+)", text)
    return int(found[2]) if found else None


def _places(names: Mapping[str, str]) -> re.Pattern[str]:
    words = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    # Comments are moved too: that does no harm, and what begins one differs between proxies.
    return re.compile(rf"(?<![\w.-])({words})(?=:\d)")


def needs(project: Project, component: str, proxy: str) -> Iterator[Finding]:
    """What keeps a component from running twice, or its proxy from being told, as far as the project shows it."""
    subject = f"blue-green/{component}"
    service = project.services.get(component)
    if service is None or proxy not in project.services:
        absent = component if service is None else proxy
        yield Finding(subject, False, f"the Compose files have no service {absent}", "correct its name")
        return
    if str(service.get("network_mode", "")).startswith(("host", "service:", "container:")):
        yield Finding(
            subject, False, f"it has `network_mode: {service['network_mode']}`: two of it cannot listen",
            "give it a network of the project",
        )  # fmt: skip
    count = sum(
        places(text, dict.fromkeys(names_of(project, component), "")) for text in texts(project, proxy)
    )
    if not count:
        yield Finding(
            subject, False, f"no configuration file that {proxy} mounts from the project names {component}:PORT",
            f"mount the file itself (no folder, no template) and write the server as {component}:PORT in it",
        )  # fmt: skip
    else:
        yield Finding(subject, True, f"{proxy} names it in {count} place(s)")


def texts(project: Project, proxy: str) -> list[str]:
    """The configuration files of a proxy that a revision keeps, templates left out: they are read at start only."""
    return [content for path, content in pinned_of(project, proxy) if not path.endswith(".template")]
