"""What of a Compose model is switched on: `config --no-interpolate` gives the services of every profile, and what is
applied later is one file that is asked for by no profile."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from typing import Any

_ALL = "*"


def switched_on(model: Mapping[str, Any], profiles: Collection[str]) -> dict[str, Any]:
    """The model with the services of these Compose profiles and those that have none, as Compose chooses them.

    What only other services use (a secret that need not be set then) and `x-` blocks are left out. Who may start
    without a service (`required: false`) does not wait for one that is off; who may not is for Compose to refuse.
    """
    found = {key: copy.deepcopy(value) for key, value in model.items() if not key.startswith("x-")}
    services = found.get("services") or {}
    on = {name: service for name, service in services.items() if _is_on(service, profiles)}
    for service in on.values():
        service.pop("profiles", None)
        waits = service.get("depends_on")
        if isinstance(waits, dict):
            service["depends_on"] = {
                name: how for name, how in waits.items() if name in on or (how or {}).get("required", True)
            }
    found["services"] = on
    for kind in ("secrets", "configs"):
        if found.get(kind):
            used = {_source(one) for service in on.values() for one in service.get(kind) or ()}
            found[kind] = {name: one for name, one in found[kind].items() if name in used}
    return found


def _is_on(service: Mapping[str, Any], profiles: Collection[str]) -> bool:
    named = service.get("profiles") or ()
    return not named or _ALL in profiles or any(one in profiles for one in named)


def _source(used: Any) -> str:
    return used if isinstance(used, str) else str(used.get("source", ""))
