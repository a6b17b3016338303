"""How the services of a Compose project hang together, so that making one container anew changes others too.

Compose's own rules (`pkg/compose/convergence.go`): a service that uses the network, IPC, PID namespace or volumes of
another is compared with the id of that one's container filled in; until 2.29.2 every service that depends on one that
is made anew is made anew too (`setDependentLifecycle`), since then those with `restart: true` are started again
(`stopDependentContainers`).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ops_pipelines.policy.compose_project import Project

_SHARED = ("network_mode", "ipc", "pid")
_OF = "service:"
_FORCED_UNTIL = (2, 29, 2)


@dataclass(frozen=True)
class Ties:
    """Other services that a service hangs on."""

    uses: frozenset[str] = frozenset()
    """Those whose namespaces or volumes it uses: another container of theirs makes another one of it."""
    restarts: frozenset[str] = frozenset()
    """Those after which it is started again when they are made anew (`restart: true`)."""
    after: frozenset[str] = frozenset()
    """Those that it depends on."""


def ties_of(service: Mapping[str, Any]) -> Ties:
    """Of a service as Compose resolves it: there, what it uses is among its `depends_on`."""
    waits: Mapping[str, Mapping[str, Any]] = service.get("depends_on") or {}
    volumes = (str(one).partition(":")[0] for one in service.get("volumes_from") or ())
    return Ties(
        uses=frozenset((*_shares(service).values(), *(one for one in volumes if one != "container"))),
        restarts=frozenset(name for name, one in waits.items() if one.get("restart")),
        after=frozenset(waits),
    )


def _shares(service: Mapping[str, Any]) -> dict[str, str]:
    """Key -> service whose namespace that key names."""
    words = {key: str(service.get(key) or "") for key in _SHARED}
    return {key: word.removeprefix(_OF) for key, word in words.items() if word.startswith(_OF)}


def with_containers(
    project: Project, resolved: Mapping[str, Mapping[str, Any]], ids: Mapping[str, str]
) -> Project | None:
    """The project as Compose compares it: with the ids of containers (`ids`, by service) where services share their
    namespaces. None where none do. `resolved` are its services as Compose resolves them."""
    model: dict[str, Any] | None = None
    for name, service in resolved.items():
        for key, other in _shares(service).items():
            if other in ids:
                model = model or copy.deepcopy(dict(project.model))
                model["services"][name][key] = f"container:{ids[other]}"
                model["services"][name]["depends_on"] = service.get("depends_on") or {}
    return replace(project, model=model) if model else None


def remakes_dependents(version: str) -> bool:
    """Whether that version of Compose makes all services anew that depend on one that it makes anew."""
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", version)
    return found is not None and tuple(map(int, found.groups())) <= _FORCED_UNTIL
