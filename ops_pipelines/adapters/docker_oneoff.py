"""One container run to its end on a Docker Engine: started, its lines handed on, removed, whatever happens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from ops_pipelines.adapters.docker_engine import DockerEngine
from ops_pipelines.errors import CommandFailed, Refused
from ops_pipelines.policy.one_off import FENCE_LABEL, STACK_LABEL, OneOff, is_stray

if TYPE_CHECKING:
    from docker import DockerClient

log = structlog.get_logger()

_TAIL = 30
_PIDS = 512
_RIGHTS = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID")
"""What root needs to read and write back files of any owner; everything else is dropped."""
_SCRATCH = "/tmp"  # noqa: S108 - inside the container, in its memory


def run(engine: DockerEngine, spec: OneOff, heard: Callable[[str], None]) -> None:
    """Run a container to its end; `heard` gets each line that it prints, as it comes.

    Raises Refused where it cannot be made (no such image), CommandFailed where it ends badly. It is removed in any
    case, by Ctrl-C and by the end of a run too; what is left after kill -9 is for `sweep`."""
    tail: list[str] = []
    with engine.explained() as client:
        made = _made(client, spec)
        try:
            client.api.start(made)
            for line in _lines(client.api.logs(made, stdout=True, stderr=True, stream=True, follow=True)):
                tail = [*tail[-_TAIL:], line]
                heard(line)
            status = int(client.api.wait(made)["StatusCode"])
        finally:
            with suppress(Exception):
                client.api.remove_container(made, force=True, v=True)
    if status:
        killed = " (killed: most likely it had too little memory)" if status == 137 else ""
        raise CommandFailed(
            f"the container {spec.name} ({spec.image}) ended with status {status}{killed}",
            remedy="look at its words above; `target.data.memory` gives it more memory",
            output="\n".join(one for one in tail if not one.startswith("{")),
        )


def sweep(engine: DockerEngine, stack: str, current: int | None) -> tuple[str, ...]:
    """Remove one-off containers of a stack that a killed run left, and return their names."""
    gone = []
    with engine.explained() as client:
        for one in client.api.containers(all=True, filters={"label": f"{STACK_LABEL}={stack}"}):
            labels = one.get("Labels") or {}
            if is_stray(labels.get(FENCE_LABEL, ""), time.time() - float(one.get("Created", 0)), current):
                client.api.remove_container(one["Id"], force=True, v=True)
                gone.append(one["Names"][0].lstrip("/"))
                log.warning(
                    "one_off.swept", stack_name=stack, container=gone[-1], at=datetime.now(UTC).isoformat()
                )
    return tuple(gone)


def _made(client: DockerClient, spec: OneOff) -> str:
    from docker.errors import ImageNotFound
    from docker.types import LogConfig, Mount

    mounts = [
        Mount(one.target, one.source, type="volume" if one.volume else "bind", read_only=one.read_only)
        for one in spec.mounts
    ]
    host = client.api.create_host_config(
        mounts=mounts,
        network_mode=spec.network,
        mem_limit=spec.memory,
        memswap_limit=spec.memory,
        nano_cpus=int(spec.cpus * 1e9),
        pids_limit=_PIDS,
        read_only=True,
        tmpfs={_SCRATCH: "mode=1777"},
        cap_drop=["ALL"],
        cap_add=list(_RIGHTS),
        security_opt=["no-new-privileges"],
        init=True,
        log_config=LogConfig(type=LogConfig.types.JSON),
    )
    try:
        return str(
            client.api.create_container(
                spec.image,
                command=list(spec.command),
                name=spec.name,
                environment=dict(spec.environ),
                labels=dict(spec.labels),
                user="0:0",
                host_config=host,
            )["Id"]
        )
    except ImageNotFound as error:
        raise Refused(
            f"the image {spec.image}, in which data is moved, is not on the engine",
            remedy="build it there (`docker build -f deploy/platform/Dockerfile --target data`), or name another one "
            "in `target.data.image`",
        ) from error


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """Whole lines of a stream that comes in pieces."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace")
    if rest:
        yield rest.decode("utf-8", "replace")
