"""What a deploy on target `compose` needs, looked at before anything is changed; all findings at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from ops_pipelines.adapters.machine import LocalMachine
from ops_pipelines.engines._blobs import in_parallel
from ops_pipelines.errors import CommandFailed, OpsError
from ops_pipelines.policy.compose_needs import (
    gpu_findings,
    memory_finding,
    published_ports,
    secret_findings,
    version_finding,
)
from ops_pipelines.policy.compose_project import Project, image_of, used
from ops_pipelines.policy.plan import Finding
from ops_pipelines.wiring import compose_bluegreen, compose_data, compose_room
from ops_pipelines.wiring.compose_site import ComposeSite


def findings(here: ComposeSite) -> tuple[Finding, ...]:
    """Engine, plugin, secrets, images, ports, volumes, networks, memory, cards and their driver, disk."""
    with ThreadPoolExecutor(1) as other:
        reading = other.submit(lambda: here.project)  # while the engine and Compose are asked who they are
        try:
            info = here.docker.info()
            compose = here.compose_version
        except OpsError as error:
            return (Finding("docker", False, error.message, error.remedy),)
        project = reading.result()
    found = [
        Finding("docker", True, f"Docker Engine {info.version}, {info.cpus} CPUs"),
        version_finding(compose),
        *secret_findings(project, here.values_or_errors(project)),
    ]
    if any(one.ok is False for one in found):
        return tuple(found)  # nothing can be resolved without them
    try:
        tool, file = here.tool(project), here.place(project)
        tool.ask_ahead(file)
        resolved = tool.resolved(file)
    except CommandFailed as error:
        return (*found, Finding("compose", False, f"{error.message}\n{error.output}".strip(), error.remedy))
    services: Mapping[str, Mapping[str, Any]] = resolved.get("services") or {}
    found += _images(here, services)
    found += _ports(here, project, services)
    found += _external(here, resolved)
    found += _left_here(here, resolved)
    found += _moves(here)
    found += [memory_finding(services, info.memory), *gpu_findings(services, info.runtimes)]
    found += compose_room.findings(here, services, info.root)
    found += compose_bluegreen.findings(here)
    return tuple(found)


def _images(here: ComposeSite, services: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    names = {name: image_of(here.target.project, name, one) for name, one in services.items()}
    built = {names[name]: name for name, one in services.items() if not one.get("image")}
    absent: list[str] = []
    for image, known in here.docker.image_ids(names.values()).items():
        subject = f"image/{image}"
        if known is not None:
            yield Finding(subject, True, known.removeprefix("sha256:")[:12])
        elif image in built:
            remedy = f"build it: ops-pipelines build {here.site.name}"
            yield Finding(subject, False, f"{built[image]} is not built", remedy)
        else:
            absent.append(image)
    # A registry that does not answer takes seconds to say so: all are asked at once.
    for image, (there, said) in zip(
        absent, in_parallel(here.docker.can_pull, absent, workers=8), strict=True
    ):
        if there is False:
            mend = "correct its name, log in to its registry (`docker login`), or load it (`docker load`)"
            yield Finding(
                f"image/{image}", False, f"is not on the engine, and cannot be pulled: {said}", mend
            )
        else:
            words = "is not on the engine" + (
                "" if there else f"; whether it can be pulled is unknown: {said}"
            )
            yield Finding(f"image/{image}", False, words, "the deploy pulls it first", "warning")


def _ports(
    here: ComposeSite, project: Project, services: Mapping[str, Mapping[str, Any]]
) -> Iterator[Finding]:
    ours = {port for one in here.docker.containers(project.name) for port in one.ports}
    taken = here.docker.published()
    machine = LocalMachine(here.site.settings.environ.get("PATH", "")) if here.docker.is_local else None
    for port, service in published_ports(services):
        subject = f"port/{port}"
        remedy = f"stop it, or publish another port of {service}"
        if port in ours:
            yield Finding(subject, True, f"held by this project itself, for {service}")
        elif port in taken:
            yield Finding(subject, False, f"taken by container {taken[port]}; {service} needs it", remedy)
        elif machine is not None and machine.port_state(port) == "taken":
            holders = ", ".join(f"{one.name} (pid {one.pid})" for one in machine.holders(port) or ())
            yield Finding(
                subject, False, f"taken by {holders or 'another process'}; {service} needs it", remedy
            )
        else:
            yield Finding(subject, True, f"free for {service}")


def _moves(here: ComposeSite) -> Iterator[Finding]:
    """Who moves the data of its volumes, and why."""
    if not (here.site.stack.caches or here.site.stack.volumes):
        return
    who = compose_data.where(here.site)
    if not who.container:
        yield Finding("data", True, f"is moved by this process: {who.why}")
        return
    image = here.target.data.image
    if here.docker.image_ids([image])[image] is not None:
        yield Finding("data", True, f"is moved by one-off containers of {image}: {who.why}")
    else:
        how = "build it there (`docker build -f deploy/platform/Dockerfile --target data`), or set `target.data.image`"
        words = f"is to be moved by containers of {image}, which is not on the engine: {who.why}"
        yield Finding("data", False, words, how, "warning")


def _left_here(here: ComposeSite, resolved: Mapping[str, Any]) -> Iterator[Finding]:
    """Files of this machine that services mount, where the engine is on another one: it would make empty folders."""
    if here.docker.is_local:
        return
    ours = (here.directory, here.site.folder, here.site.state)
    for name, service in (resolved.get("services") or {}).items():
        for one in service.get("volumes") or ():
            source = Path(str(one.get("source", "")))
            if one.get("type") == "bind" and any(source.is_relative_to(folder) for folder in ours):
                yield Finding(
                    f"mount/{one['target']}",
                    False,
                    f"{name} mounts {source.name} of this machine, and the engine is at {here.docker.address}",
                    "write it as `configs:` with `content:`, or keep it in a named volume or an image",
                )


def _external(here: ComposeSite, resolved: Mapping[str, Any]) -> Iterator[Finding]:
    kinds: tuple[tuple[Literal["volumes", "networks"], Callable[[str], bool]], ...] = (
        ("volumes", here.docker.has_volume),
        ("networks", here.docker.has_network),
    )
    for kind, there in kinds:
        for key in used(resolved, kind):
            one = resolved[kind][key] or {}
            if not one.get("external"):
                continue
            name = one.get("name") or key
            subject, word = f"{kind[:-1]}/{name}", kind[:-1]
            if there(name):
                yield Finding(subject, True, "is there")
            else:
                how = f"make it: docker {word} create {name}"
                yield Finding(subject, False, "is declared external and is not there", how)
