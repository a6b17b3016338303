"""A Docker Engine, by the `docker` SDK: what runs, which images and volumes are there, what the machine has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from ops_pipelines.adapters import _docker_client
from ops_pipelines.errors import Refused
from ops_pipelines.policy.compose_plan import Container, ContainerState, Health, Mount

if TYPE_CHECKING:
    from docker import DockerClient

_PROJECT = "com.docker.compose.project"
_SERVICE = "com.docker.compose.service"
_NUMBER = "com.docker.compose.container-number"
_HASH = "com.docker.compose.config-hash"
_ONEOFF = "com.docker.compose.oneoff"
_VOLUME = "com.docker.compose.volume"
_NEVER = "0001-01-01"


@dataclass(frozen=True)
class EngineInfo:
    """What a Docker Engine says of itself and of its machine."""

    version: str
    cpus: int
    memory: int
    """Bytes."""
    runtimes: tuple[str, ...]
    root: str
    """Folder of its data, on its machine."""


@dataclass(frozen=True)
class Reach:
    """How a running container is reached."""

    container: str
    service: str
    address: str
    """Its own address on a network of the engine's machine; empty where it has none."""
    published: Mapping[int, int]
    """Port of the engine's machine -> port of the container."""
    open: frozenset[int] = frozenset()
    """Those of them that other machines reach as well: they are not bound to the loopback."""


class DockerEngine:
    """One Docker Engine. It is found as `docker` finds it: DOCKER_HOST, else DOCKER_CONTEXT or the current context."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = dict(environ)
        self._made: DockerClient | None = None

    @property
    def address(self) -> _docker_client.Address:
        """Where it answers. Raises UsageError for a context that is not there."""
        return _docker_client.address(self._environ)

    @property
    def is_local(self) -> bool:
        """Whether it runs on this machine, as far as its address tells."""
        return self.address.is_local

    def info(self) -> EngineInfo:
        """Version and resources. Raises Unreachable."""
        with self._explained() as client:
            raw = client.info()
            return EngineInfo(
                version=str(raw.get("ServerVersion", "")),
                cpus=int(raw.get("NCPU", 0)),
                memory=int(raw.get("MemTotal", 0)),
                runtimes=tuple(sorted(raw.get("Runtimes") or {})),
                root=str(raw.get("DockerRootDir", "")),
            )

    def containers(self, project: str) -> tuple[Container, ...]:
        """Containers of a Compose project, those that ended included, in order of service and number."""
        with self._explained() as client:
            found = client.api.containers(all=True, filters={"label": f"{_PROJECT}={project}"})
            seen = [_container(client, one["Id"]) for one in found]
        return tuple(sorted((one for one in seen if one), key=lambda one: (one.service, one.number)))

    def image_ids(self, names: Iterable[str]) -> dict[str, str | None]:
        """What each image's name stands for; None where it is not there."""
        from docker.errors import ImageNotFound

        found: dict[str, str | None] = {}
        with self._explained() as client:
            for name in dict.fromkeys(names):
                try:
                    found[name] = str(client.images.get(name).id)
                except ImageNotFound:
                    found[name] = None
        return found

    def tag(self, image_id: str, name: str) -> None:
        """Give an image one more name, `repository:tag`. Raises Unreachable."""
        repository, _, tag = name.rpartition(":")
        with self._explained() as client:
            client.images.get(image_id).tag(repository, tag)

    def can_pull(self, image: str) -> tuple[bool | None, str]:
        """Whether its registry has an image, asked by the engine; None where that is not known, with the reason."""
        from docker.errors import APIError

        with self._explained() as client:
            try:
                cast("Any", client.api).inspect_distribution(image)  # it publishes no types
            except APIError as error:
                said = str(error.explanation or error)
                gone = any(
                    word in said.lower()
                    for word in ("manifest unknown", "not found", "denied", "unauthorized")
                )
                return (False if gone else None), " ".join(said.split())[:200]
        return True, "its registry has it"

    def volumes(self, project: str) -> dict[str, str]:
        """Volumes of a Compose project: name in its files -> name on the engine."""
        with self._explained() as client:
            listed = client.api.volumes(filters={"label": f"{_PROJECT}={project}"})["Volumes"] or ()
            return {(one.get("Labels") or {}).get(_VOLUME, one["Name"]): one["Name"] for one in listed}

    def mounts(self, project: str, services: Sequence[str]) -> tuple[tuple[Mount, ...], ...]:
        """What each container of some services of a project has mounted, in order of service and number."""
        order = {
            one.name: one for one in self.containers(project) if one.service in services and not one.oneoff
        }
        found = []
        with self._explained() as client:
            for name in order:
                raw = client.api.inspect_container(name)
                found.append(
                    tuple(
                        Mount(one["Destination"], one["Source"], str(one.get("Name") or ""))
                        for one in raw.get("Mounts") or ()
                    )
                )
        return tuple(found)

    def reach(self, project: str) -> tuple[Reach, ...]:
        """How each running container of a Compose project is reached, in order of service and number."""
        running = [one for one in self.containers(project) if one.state == "running" and not one.oneoff]
        with self._explained() as client:
            return tuple(_reach(client.api.inspect_container(one.name), one) for one in running)

    def ask(self, container: str, command: Sequence[str]) -> tuple[int, str]:
        """Run a command in a container that runs: its status and what it printed. Raises Refused, Unreachable."""
        with self._explained() as client:
            made = client.api.exec_create(container, list(command), stdout=True, stderr=True)
            printed = client.api.exec_start(made["Id"])
            status = client.api.exec_inspect(made["Id"])["ExitCode"]
        return int(status if status is not None else 1), bytes(printed).decode("utf-8", "replace")

    def mountpoint(self, volume: str) -> str | None:
        """Where a volume lies on the engine's machine; None where it is not there."""
        from docker.errors import NotFound

        with self._explained() as client:
            try:
                return str(client.api.inspect_volume(volume)["Mountpoint"])
            except NotFound:
                return None

    def make_volume(self, name: str, project: str, volume: str) -> None:
        """Make a volume, where it is not there, with the labels by which Compose knows its own."""
        with self._explained() as client:
            client.api.create_volume(name, labels={_PROJECT: project, _VOLUME: volume})

    def stop(self, container: str, *, within: int = 30) -> None:
        """Stop a container, killed after `within` seconds; it stays."""
        with self._explained() as client:
            client.api.stop(container, timeout=within)

    def start(self, container: str) -> None:
        """Start a container that is stopped."""
        with self._explained() as client:
            client.api.start(container)

    def remove(self, container: str) -> None:
        """Remove a container that does not run; its volumes stay."""
        with self._explained() as client:
            client.api.remove_container(container)

    def rename(self, container: str, name: str) -> None:
        """Give a container another name."""
        with self._explained() as client:
            client.api.rename(container, name)

    def door(self, container: str, port: int) -> str | None:
        """`HOST:PORT` at which a container's port is reached from here; None where it is not."""
        with self._explained() as client:
            found = client.api.inspect_container(container)["NetworkSettings"]
        for one in (found.get("Ports") or {}).get(f"{port}/tcp") or ():
            if one.get("HostPort"):
                return f"127.0.0.1:{one['HostPort']}"
        inside = [
            each["IPAddress"] for each in (found.get("Networks") or {}).values() if each.get("IPAddress")
        ]
        return f"{inside[0]}:{port}" if inside and self.is_local else None

    def has_volume(self, name: str) -> bool:
        """Whether a volume of that name is there, whoever made it."""
        from docker.errors import NotFound

        with self._explained() as client:
            try:
                client.api.inspect_volume(name)
            except NotFound:
                return False
            return True

    def has_network(self, name: str) -> bool:
        """Whether a network of that name is there."""
        with self._explained() as client:
            return any(one["Name"] == name for one in client.api.networks(names=[name]))

    def users(self, sources: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Running containers that may write to volumes or folders of its machine -> which of `sources` (a volume's
        name, or a path) each has mounted."""
        asked = set(sources)
        with self._explained() as client:
            found = {
                one["Names"][0].lstrip("/"): tuple(
                    sorted(
                        asked.intersection(
                            word
                            for mount in one.get("Mounts") or ()
                            if mount.get("RW")
                            for word in (mount.get("Name"), mount.get("Source"))
                        )
                    )
                )
                for one in client.api.containers()
            }
        return {name: mounted for name, mounted in found.items() if mounted}

    def published(self) -> dict[int, str]:
        """Ports of its machine that running containers publish -> `project/container`."""
        with self._explained() as client:
            return {
                int(
                    port["PublicPort"]
                ): f"{(one.get('Labels') or {}).get(_PROJECT, '')}/{one['Names'][0].lstrip('/')}"
                for one in client.api.containers()
                for port in one.get("Ports") or ()
                if port.get("PublicPort")
            }

    def log_tail(self, container: str, lines: int = 30) -> str:
        """The end of what a container printed, standard error included."""
        with self._explained() as client:
            tail = client.api.logs(container, stdout=True, stderr=True, tail=lines)
        return bytes(tail).decode("utf-8", "replace")

    def explained(self) -> AbstractContextManager[DockerClient]:
        """The SDK's client; what goes wrong with it is Refused or Unreachable."""
        return self._explained()

    @contextmanager
    def _explained(self) -> Iterator[DockerClient]:
        import requests
        from docker.errors import APIError, DockerException

        try:
            if self._made is None:
                self._made = _docker_client.client(self._environ)
            yield self._made
        except APIError as error:
            raise Refused(
                f"the Docker Engine refused: {error.explanation or error}",
                remedy="look at the engine's own log",
            ) from error
        except (DockerException, requests.RequestException, OSError) as error:
            self._made = None
            raise _docker_client.explained(self.address, str(error)) from error


def _container(client: DockerClient, id: str) -> Container | None:
    from docker.errors import NotFound

    try:
        raw = client.api.inspect_container(id)
    except NotFound:  # removed since it was listed
        return None
    labels, state = raw["Config"].get("Labels") or {}, raw["State"]
    ended = state["Status"] in ("exited", "dead")
    started = str(state.get("StartedAt", ""))
    return Container(
        name=raw["Name"].lstrip("/"),
        service=labels.get(_SERVICE, ""),
        number=int(labels.get(_NUMBER, "0") or 0),
        config_hash=labels.get(_HASH, ""),
        image=raw["Config"]["Image"],
        image_id=raw["Image"],
        state=cast("ContainerState", state["Status"]),
        health=cast("Health", (state.get("Health") or {}).get("Status", "none")),
        exit_code=int(state["ExitCode"]) if ended else None,
        started="" if started.startswith(_NEVER) else started,
        ports=tuple(sorted(_published(raw))),
        oneoff=labels.get(_ONEOFF, "False") == "True",
        id=raw["Id"],
    )


def _reach(raw: Mapping[str, Any], of: Container) -> Reach:
    network = raw.get("NetworkSettings") or {}
    addresses = [str(one.get("IPAddress") or "") for one in (network.get("Networks") or {}).values()]
    bound = [
        (int(one["HostPort"]), int(inner.partition("/")[0]), str(one.get("HostIp") or ""))
        for inner, bindings in (network.get("Ports") or {}).items()
        for one in bindings or ()
        if one.get("HostPort")
    ]
    return Reach(
        of.name,
        of.service,
        next((one for one in addresses if one), ""),
        {outer: inner for outer, inner, _ in bound},
        frozenset(outer for outer, _, ip in bound if not ip.startswith("127.") and ip != "::1"),
    )


def _published(raw: Mapping[str, Any]) -> set[int]:
    bindings = (raw.get("HostConfig") or {}).get("PortBindings") or {}
    return {int(one["HostPort"]) for each in bindings.values() for one in each or () if one.get("HostPort")}
