"""A stack of deploy/, started whole: its files unchanged, with one Compose file more for what a test engine lacks.

The file behind the others (`compose.test.yaml`) takes away only what a machine of this size and without cards cannot
give: reserved cards, and processors beyond those there are. It gives each service ports of its own, so that tests run
beside each other, and asks for health every second, not every ten, with as much patience. EXTRA and `extra` add what is
somebody else's outside (a hosted model).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ops_pipelines.settings import load_settings
from ops_pipelines.wiring.site import Site, load_fleet
from tests.deploy.projects import Form, environ_of
from tests.servers.docker import Docker
from tests.servers.seaweed import Seaweed
from tests.waiting import free_ports

TEST_FILE = "compose.test.yaml"
EXTRA: Mapping[str, Mapping[str, Any]] = {
    # OpenAI is outside: a server of its addresses takes its place.
    "obelisk": {
        "hosted": {"image": "ops-test/openai:1", "networks": ["front"], "init": True},
        "litellm": {"environment": {"OPENAI_API_BASE": "http://hosted:8080/v1"}},
    },
}


@dataclass(frozen=True)
class Whole:
    """A copy of a stack's folder, ready to be deployed."""

    docker: Docker
    form: Form
    folder: Path
    project: str
    environ: Mapping[str, str]
    ports: Mapping[str, str]
    """Published port of the files -> the one that it has here."""
    images: tuple[str, ...]

    def site(self) -> Site:
        """The stack as its files stand now."""
        return load_fleet(load_settings(self.environ, cwd=self.folder)).site(self.form.stack)

    def url(self, port: int, scheme: str = "http") -> str:
        """Where what the files publish on `port` is reached."""
        return f"{scheme}://127.0.0.1:{self.ports[str(port)]}"

    def container(self, service: str, number: int = 1) -> str:
        """Name of a service's container."""
        return f"{self.project}-{service}-{number}"


def whole(
    docker: Docker,
    form: Form,
    seaweed: Seaweed,
    bucket: str,
    home: Path,
    *,
    words: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Whole:
    """A copy of a form's folder below `home`. `words` are variables whose content matters; `extra` are services or
    what is said of them, as Compose writes it, beside EXTRA."""
    extra = {**EXTRA.get(form.stack, {}), **(extra or {})}
    folder = home / "deploy" / form.stack
    shutil.copytree(form.folder, folder)
    resolved = form.project()
    published = {
        str(port["published"]) for one in resolved["services"].values() for port in one.get("ports") or ()
    }
    ports = dict(zip(sorted(published), (str(one) for one in free_ports(len(published))), strict=True))
    project = f"{form.stack}{os.getpid()}"
    addition: dict[str, Any] = {
        "services": {name: _fitted(one, ports) for name, one in resolved["services"].items()}
    }
    for name, one in extra.items():
        addition["services"][name] = {**addition["services"].get(name, {}), **one}
    (folder / TEST_FILE).write_text(_dumped(addition))
    _settle(folder / "stack.yaml", form.profile, project, ports)
    environ = {
        **environ_of(form.folder / "stack.yaml", *form.files),
        **docker.environ,
        "OPS_HOME": str(home / "home"),
        "OPS_STACKS_DIR": str(home / "deploy"),
        "OPS_PROFILES": f"{form.stack}={form.profile}",
        "OPS_S3_ENDPOINT": seaweed.endpoint,
        "OPS_S3_ACCESS_KEY": seaweed.access_key,
        "OPS_S3_SECRET_KEY": seaweed.secret_key,
        **(words or {}),
    }
    _rename_bucket(folder / "stack.yaml", bucket)
    images = {one["image"] for one in (*resolved["services"].values(), *extra.values()) if "image" in one}
    return Whole(docker, form, folder, project, environ, ports, tuple(sorted(images)))


@contextmanager
def removed_after(docker: Docker, project: str) -> Iterator[None]:
    """Remove a project whatever comes of it."""
    try:
        yield
    finally:
        docker.remove(project)


def _fitted(service: Mapping[str, Any], ports: Mapping[str, str]) -> dict[str, Any]:
    """What one service needs said anew on this machine."""
    found: dict[str, Any] = {}
    resources = (service.get("deploy") or {}).get("resources") or {}
    changed: dict[str, Any] = {}
    if float((resources.get("limits") or {}).get("cpus") or 0) > (os.cpu_count() or 1):
        changed["limits"] = {"cpus": str(os.cpu_count())}
    if (resources.get("reservations") or {}).get("devices"):
        changed["reservations"] = {"devices": _Tagged("!reset", [])}
    if changed:
        found["deploy"] = {"resources": changed}
    if (service.get("healthcheck") or {}).get("interval"):
        found["healthcheck"] = {"interval": "1s", "retries": 120}
    if service.get("ports"):
        moved = [
            f"{one.get('host_ip') or '127.0.0.1'}:{ports[str(one['published'])]}:{one['target']}"
            for one in service["ports"]
        ]
        found["ports"] = _Tagged("!override", moved)
    return found


@dataclass(frozen=True)
class _Tagged:
    tag: str
    value: list[str]


class _Dumper(yaml.SafeDumper):
    """Knows Compose's own tags."""


_Dumper.add_representer(_Tagged, lambda dumper, one: dumper.represent_sequence(one.tag, one.value))


def _dumped(document: Mapping[str, Any]) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False)


def _settle(file: Path, profile: str, project: str, ports: Mapping[str, str]) -> None:
    """The stack file's own words for the ports, the project's name, and the file more."""
    document = yaml.safe_load(file.read_text())
    chosen = document["profiles"][profile] or {}
    document["profiles"][profile] = chosen
    target = dict(_target(document, profile))
    target |= {"project": project, "files": [*(target.get("files") or ["compose.yaml"]), TEST_FILE]}
    chosen["target"] = target
    for one in (document, *(document["profiles"].values())):
        for component in ((one or {}).get("components") or {}).values():
            for name, port in ((component or {}).get("ports") or {}).items():
                if str(port) in ports:
                    component["ports"][name] = int(ports[str(port)])
    file.write_text(yaml.safe_dump(document, sort_keys=False))


def _target(document: Mapping[str, Any], profile: str) -> Mapping[str, Any]:
    chosen = document["profiles"].get(profile) or {}
    if "target" in chosen:
        found: Mapping[str, Any] = chosen["target"]
        return found
    if "extends" in chosen:
        return _target(document, chosen["extends"])
    base: Mapping[str, Any] = document["target"]
    return base


def _rename_bucket(file: Path, bucket: str) -> None:
    document = yaml.safe_load(file.read_text())
    document["backup"]["bucket"] = bucket
    file.write_text(yaml.safe_dump(document, sort_keys=False))
