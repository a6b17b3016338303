"""Proxies in containers whose configuration changes while they run: HAProxy as master and workers, and nginx.

Both read their files anew at SIGHUP and let the old workers finish what they have begun. HAProxy does so with `-W`
(https://docs.haproxy.org/2.8/management.html#4), as its official image starts it; nginx always
(https://nginx.org/en/docs/control.html). The container's first process must hand the signal on, as `init: true` does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ops_pipelines.adapters.docker_engine import DockerEngine
from ops_pipelines.errors import Refused
from ops_pipelines.policy.bluegreen_project import LiveFile

_SERVER = re.compile(r"(\S*/)?(haproxy|nginx)(:| |$)")
_PROJECT = "com.docker.compose.project"
_SERVICE = "com.docker.compose.service"


@dataclass(frozen=True)
class LiveProxies:
    """The proxies of one Compose project that have files below `live`."""

    engine: DockerEngine
    project: str
    live: Path
    """Folder of the files as they are read; `declared` has the same ones as they are written."""
    declared: Path

    def files(self) -> tuple[LiveFile, ...]:
        """Every file below `live`, with the running containers that mount it."""
        mounted: dict[str, list[tuple[str, str]]] = {}
        for raw in self._containers():
            service = (raw["Config"].get("Labels") or {}).get(_SERVICE, "")
            for mount in raw.get("Mounts") or ():
                mounted.setdefault(mount.get("Source", ""), []).append((raw["Name"].lstrip("/"), service))
        found = []
        for path in sorted(
            one for one in self.live.glob("*/*") if one.is_file() and not one.name.startswith(".")
        ):
            origin = self.declared / path.relative_to(self.live)
            if origin.is_file():
                users = mounted.get(str(path), [])
                found.append(LiveFile(path, origin.read_text(encoding="utf-8"), tuple(users)))
        return tuple(found)

    def write(self, file: LiveFile, text: str) -> None:
        """Change a file in place: a container that mounts it goes on seeing the same one.

        It is one write, and blank lines cover the rest of a longer text until it is cut: a kill leaves the old text or
        the new."""
        content = text.encode()
        handle = os.open(file.path, os.O_WRONLY)
        try:
            padding = max(0, os.fstat(handle).st_size - len(content))
            if os.pwrite(handle, content + b"\n" * padding, 0) < len(content):
                raise OSError(28, f"{file.path} was written by half")
            os.ftruncate(handle, len(content))
            os.fsync(handle)
        finally:
            os.close(handle)

    def workers(self, container: str) -> frozenset[int]:
        """Processes of the proxy that another one of it has started; none where it has no master."""
        with self.engine.explained() as client:
            top = client.api.top(container, ps_args="-eo pid,ppid,args")
        ours = {int(pid): int(parent) for pid, parent, args in top["Processes"] or () if _SERVER.match(args)}
        return frozenset(pid for pid, parent in ours.items() if parent in ours)

    def check(self, container: str) -> str:
        """Ask the proxy's own program whether it would take its configuration: '' or what it says against it."""
        with self.engine.explained() as client:
            config = client.api.inspect_container(container)["Config"]
            words = [*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())]
            made = client.api.exec_create(container, _check(words))
            said = client.api.exec_start(made["Id"])
            code = client.api.exec_inspect(made["Id"])["ExitCode"]
        return "" if code == 0 else bytes(said).decode("utf-8", "replace").strip()[-1000:] or f"status {code}"

    def reload(self, container: str) -> None:
        """Have a proxy read its configuration anew, without dropping a connection."""
        with self.engine.explained() as client:
            client.api.kill(container, "HUP")

    def printed(self, service: str, since: datetime) -> Iterator[tuple[str, str, str]]:
        """(container, time, line) of what a service has printed since a time. Raises Refused where none runs."""
        names = [
            one["Id"] for one in self._containers()
            if (one["Config"].get("Labels") or {}).get(_SERVICE) == service and one["State"]["Running"]
        ]  # fmt: skip
        if not names:
            raise Refused(f"no container of {service} runs", remedy="look at its log")
        with self.engine.explained() as client:
            for name in names:
                text = client.api.logs(
                    name, stdout=True, stderr=False, timestamps=True, since=since.timestamp()
                )
                for line in bytes(text).decode("utf-8", "replace").splitlines():
                    at, _, said = line.partition(" ")
                    yield name, at, said

    def _containers(self) -> list[dict[str, Any]]:
        from docker.errors import NotFound

        found = []
        with self.engine.explained() as client:
            for one in client.api.containers(filters={"label": f"{_PROJECT}={self.project}"}):
                try:
                    found.append(client.api.inspect_container(one["Id"]))
                except NotFound:  # removed since it was listed
                    continue
        return found


def _check(words: list[str]) -> list[str]:
    """The command that checks a configuration, of the words with which the proxy was started."""
    text = " ".join(words)
    if "nginx" in text:
        return ["nginx", "-t", *_options(text, "-c")]
    return ["haproxy", "-c", *(_options(text, "-f") or ["-f", "/usr/local/etc/haproxy/haproxy.cfg"])]


def _options(text: str, name: str) -> list[str]:
    return [word for match in re.finditer(rf"(?<!\S){name}[ =](\S+)", text) for word in (name, match[1])]
