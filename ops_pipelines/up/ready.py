"""Waiting until a service answers, with the end of its log where it does not."""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import urlsplit

from ops_pipelines.adapters import health, machine
from ops_pipelines.adapters.supervisor import Supervisord
from ops_pipelines.errors import DeployFailed, OpsError
from ops_pipelines.up.dagster_api import LocationBroken
from ops_pipelines.up.services import Service
from ops_pipelines.up.steps import Steps

PATIENCE = 120.0
"""Seconds that a service is given to answer."""
_LOOK_EVERY = 0.1


def await_service(manager: Supervisord, service: Service, steps: Steps) -> None:
    """Wait until a service answers at its port, and is the one that does. A step of its own."""
    with steps.step(service.title) as note:
        until(lambda: _answers(service), service.title, manager, service.program.name)
        _require_ours(manager, service)
        note.words = service.ready.removeprefix("tcp://").removeprefix("http://").split("/")[0]


def until(
    condition: Callable[[], bool], what: str, manager: Supervisord, program: str, *, seconds: float = PATIENCE
) -> None:
    """Wait for a condition. Raises LocationBroken at once, DeployFailed with the end of the program's log."""
    end = time.monotonic() + seconds
    problem = ""
    while time.monotonic() < end:
        try:
            if condition():
                return
        except LocationBroken:
            raise
        except OpsError as error:
            problem = error.message
        status = manager.status().get(program)
        if status is not None and status.state == "fatal":
            problem = f"{program} does not start: {status.detail}"
            break
        time.sleep(_LOOK_EVERY)
    raise DeployFailed(
        f"waited for {what}; {problem or 'no answer came'}\n{manager.log_tail(program)}".rstrip(),
        remedy="read its last lines above; `ops-pipelines doctor` says what of this machine is missing",
    )


def _answers(service: Service) -> bool:
    if not service.ready.startswith("tcp://"):
        return health.check_http(service.title, service.ready).ok is True
    at = urlsplit(service.ready)
    return health.check_tcp(service.title, at.hostname or "", at.port or 0).ok is True


def _require_ours(manager: Supervisord, service: Service) -> None:
    """Raise DeployFailed where the port is answered by somebody else, who took it since it was chosen."""
    port = urlsplit(service.ready).port or 0
    listening = machine.holders(port)
    status = manager.status().get(service.program.name)
    if listening is None or status is None:
        return
    ours = machine.LocalMachine("").tree(status.pid) if status.pid else frozenset[int]()
    if others := [holder for holder in listening if holder.pid not in ours]:
        raise DeployFailed(
            f"port {port}, chosen for the {service.title}, was taken meanwhile by {others[0].name} "
            f"(process {others[0].pid})",
            remedy="start again: another port is then chosen",
        )
