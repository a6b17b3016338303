"""How each replica of a component is reached from here."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass

from ops_pipelines.adapters.docker_engine import Reach
from ops_pipelines.errors import OpsError
from ops_pipelines.policy.processes import LOCALHOST
from ops_pipelines.policy.programs import port_of, replica_name
from ops_pipelines.stack.components import Component
from ops_pipelines.wiring.site import Site
from ops_pipelines.wiring.targets import on


@dataclass(frozen=True)
class Place:
    """One replica of a component, and where it answers."""

    component: str
    replica: str
    address: str
    """Empty where it cannot be reached from here; `note` says why."""
    note: str = ""


def places_of(site: Site, component: str) -> tuple[Place, ...]:
    """Every replica of a component that runs, as it is reached from here."""
    declared = site.stack.components[component]
    if declared.address is not None:
        return (Place(component, declared.address, declared.address),)
    if site.stack.target.kind == "compose":
        return _containers(site, component, declared)
    if site.stack.target.kind == "kubernetes":
        return _pods(site, component, declared)
    if site.stack.target.kind != "process":
        return (Place(component, component, "", f"target {site.stack.target.kind} is not asked"),)
    numbers = on(site).replica_numbers(site, component)
    if numbers is None:
        return (Place(component, component, "", "what runs is unknown"),)
    http = _http_port(declared)
    found = []
    for number in numbers:
        port = port_of(declared, http, number) if http else None
        address = f"http://{LOCALHOST}:{port}" if port is not None else ""
        found.append(Place(component, replica_name(site.name, component, number), address))
    # Replicas that share a port answer in each other's place: one of them is all that can be asked.
    return tuple({one.address or one.replica: one for one in found}.values())


def _containers(site: Site, component: str, declared: Component) -> tuple[Place, ...]:
    from ops_pipelines.wiring.compose_site import compose_site

    try:
        here = compose_site(site)
        seen = here.docker.reach(here.target.project)
        machine = None if here.docker.is_local else here.docker.address.machine or "its machine"
    except OpsError as error:
        return (Place(component, component, "", error.message),)
    port = declared.ports.get(_http_port(declared) or "")
    mine = [one for one in seen if one.service == component]
    return tuple(_container(component, one, port, _inner(mine, port), machine) for one in mine)


def _pods(site: Site, component: str, declared: Component) -> tuple[Place, ...]:
    """Pods by their own addresses where this runs in the cluster, else by a door through the API server."""
    from ops_pipelines.adapters.kube_door import door
    from ops_pipelines.wiring.kube_site import IN_CLUSTER, KubeSite
    from ops_pipelines.wiring.kube_state import names_of, seen

    port = declared.ports.get(_http_port(declared) or "")
    if port is None:
        return (Place(component, component, "", "it declares no port to ask"),)
    try:
        here = KubeSite(site)
        found = seen(here)
        names = names_of(here, found)
        pods = [
            pod
            for one in found
            if names.get(one.key) == component
            for pod in one.pods
            if not pod["metadata"].get("deletionTimestamp")
        ]
        inside = here.target.context == IN_CLUSTER
        opened = None if inside else door(here.cluster)
    except OpsError as error:
        return (Place(component, component, "", error.message),)
    places = []
    for pod in pods:
        meta, address = pod["metadata"], (pod.get("status") or {}).get("podIP")
        if opened is not None:
            url = opened.address(str(meta["namespace"]), str(meta["name"]), port)
        else:
            url = f"http://{address}:{port}" if address else ""
        places.append(Place(component, str(meta["name"]), url, "" if url else "it has no address yet"))
    return tuple(places) or (Place(component, component, "", "it has no pod"),)


def _inner(containers: Sequence[Reach], port: int | None) -> int | None:
    """The container's port behind a published one; one that is published nowhere is the container's own."""
    return next((one.published[port] for one in containers if port in one.published), port) if port else None


def _container(
    component: str, seen: Reach, port: int | None, inner: int | None, machine: str | None
) -> Place:
    """By a published port; else, on Linux, by the container's own address, which only its engine's machine reaches.

    `machine` is where the engine runs; None: here."""
    if port is None or inner is None:
        return Place(component, seen.container, "", "it declares no port to ask")
    outer = next((out for out, within in seen.published.items() if within == inner), None)
    if machine is not None:
        if outer in seen.open:
            return Place(component, seen.container, f"http://{machine}:{outer}")
        how = "only reached there" if outer is None else "published for that machine alone"
        note = (
            f"its engine is on {machine}, and its port {inner} is {how}: publish it on an address that this machine "
            "reaches, or ask for the status there"
        )
        return Place(component, seen.container, "", note)
    if outer is not None:
        return Place(component, seen.container, f"http://{LOCALHOST}:{outer}")
    if seen.address and platform.system() == "Linux":
        return Place(component, seen.container, f"http://{seen.address}:{inner}")
    return Place(component, seen.container, "", "it publishes no port that can be reached from here")


def _http_port(declared: Component) -> str | None:
    names = ("http", declared.health.port, *declared.ports)
    return next((name for name in names if name in declared.ports), None)


def is_local(site: Site) -> bool:
    """Whether the stack runs on this machine."""
    if site.stack.target.kind == "process":
        return True
    if site.stack.target.kind != "compose":
        return False
    from ops_pipelines.wiring.compose_site import compose_site

    return compose_site(site).docker.is_local
