"""Where a stack's data lies that is not in folders of this machine: who runs a container beside it, what it mounts.

One module a target implements `Room`: `compose_oneoffs` on a Docker Engine, `kube_oneoffs` on a cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Protocol, cast
from urllib.parse import urlsplit

from ops_pipelines.policy.compose_plan import Behind
from ops_pipelines.policy.one_off import OneOff
from ops_pipelines.policy.programs import users_of
from ops_pipelines.wiring.site import Site

HOME = "/var/lib/ops-pipelines"
"""Folder of a container in which it may keep what it knows."""
READS = frozenset({"store", "inventory"})
"""Verbs that need the files alone; the others look at what lies beside them too."""
CHANGES = frozenset({"stage", "switch", "discard", "fetch"})
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_ROOMS = {"compose": "compose_oneoffs", "kubernetes": "kube_oneoffs"}


class Room(Protocol):
    """The place of one part's containers."""

    @property
    def sides(self) -> tuple[Behind, ...]:
        """What lies behind each replica. Raises TargetUnsupported where nothing mounts it."""
        ...

    def top(self, side: Behind) -> str:
        """Name that the mounted folder has in the container."""
        ...

    def is_mount(self, side: Behind) -> bool:
        """Whether a replica's folder is a mount in the container that changes it, which cannot be renamed."""
        ...

    @property
    def endpoint(self) -> str | None:
        """The bucket's store, as the container reaches it. Raises UsageError where it cannot."""
        ...

    def made(
        self,
        *,
        suffix: str,
        verb: str,
        found: tuple[Behind, ...],
        command: tuple[str, ...],
        environ: Mapping[str, str],
        labels: Mapping[str, str],
    ) -> OneOff:
        """The container of one verb."""
        ...

    def run(self, spec: OneOff, heard: Callable[[str], None]) -> None:
        """Run it to its end. Raises Refused where it cannot start, CommandFailed where it ends badly."""
        ...

    def sweep(self, current: int | None) -> None:
        """Remove what a killed run left; `current` is the token of the lease that is held."""
        ...


def room_of(site: Site, kind: str, name: str) -> Room:
    """The place of a part's containers."""
    found = import_module(f"ops_pipelines.wiring.{_ROOMS[site.stack.target.kind]}")
    return cast("Room", found.room(site, kind, name))


def by_container(site: Site) -> bool:
    """Whether a container beside them moves the stack's caches and volumes."""
    if site.stack.target.kind == "kubernetes":
        return True
    from ops_pipelines.wiring import compose_data

    return compose_data.by_container(site)


def unused(site: Site, kind: str, name: str) -> bool:
    """Whether only components that are switched off use a cache or a volume, and there is none of it."""
    from ops_pipelines.wiring import compose_data

    return compose_data.unused(site, kind, name)


def make_places(site: Site) -> None:
    """Make the volumes that are not there: what comes before the first start needs a place to lie."""
    if site.stack.target.kind == "compose":
        from ops_pipelines.wiring import compose_data

        compose_data.make_volumes(site)
    elif site.stack.target.kind == "kubernetes":
        from ops_pipelines.wiring import kube_data

        kube_data.make_claims(site)


def users(site: Site, kind: str, name: str) -> tuple[str, ...]:
    """Components that mount a cache or a volume: for a cache, those that answer with a model of it."""
    if kind == "model_cache":
        servers = [model.served_by for model in site.stack.models.values() if model.cache == name]
        return tuple(dict.fromkeys(server for server in servers if server is not None))
    return users_of(site.stack, name)


def is_near(endpoint: str | None) -> bool:
    """Whether a URL means the machine on which it is asked for."""
    return endpoint is not None and urlsplit(endpoint).hostname in _LOOPBACK
