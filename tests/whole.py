"""A stack of deploy/, started whole: its files unchanged, with one Compose file more for what a test engine lacks.

The file behind the others (`compose.test.yaml`) takes away only what a machine of this size and without cards cannot
give: reserved cards, processors and open files beyond those there are. It gives each service ports of its own, so that
tests run beside each other, and asks for health twice as often, with more patience. EXTRA and
`extra` add what is somebody else's outside (a hosted model).
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ops_pipelines.settings import load_settings
from ops_pipelines.stack.units import parse_duration
from ops_pipelines.wiring.site import Site, load_fleet
from tests.deploy.projects import Form, environ_of, environ_word
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
    profiles: tuple[str, ...] = (),
) -> Whole:
    """A copy of a form's folder below `home`, with these Compose profiles.

    `words` are variables whose content matters; `extra` are services or what is said of them, as Compose
    writes it, beside EXTRA."""
    extra = {**EXTRA.get(form.stack, {}), **(extra or {})}
    folder = home / "deploy" / form.stack
    shutil.copytree(form.folder, folder)
    resolved = form.project(profiles)
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
    document = yaml.safe_load((folder / "stack.yaml").read_text())
    _settle(document, form.profile, project, ports, profiles)
    document["backup"] |= {"bucket": bucket, "endpoint": seaweed.endpoint}
    (folder / "stack.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    environ = {
        **environ_of(form.folder / "stack.yaml", *form.files),
        **{name: environ_word(name) for name in _secret_variables(resolved)},
        **docker.environ,
        "OPS_HOME": str(home / "home"),
        "OPS_STACKS_DIR": str(home / "deploy"),
        "OPS_PROFILES": f"{form.stack}={form.profile}",
        _variable(document, "access_key"): seaweed.access_key,
        _variable(document, "secret_key"): seaweed.secret_key,
        **(words or {}),
    }
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
    files = (service.get("ulimits") or {}).get("nofile") or {}
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if files.get("hard", 0) > most:
        found["ulimits"] = {"nofile": {"soft": min(files["soft"], most), "hard": most}}
    if (service.get("healthcheck") or {}).get("interval"):
        # Some checks cost a processor's second, so they come in the order of the files' own intervals.
        interval = max(2.0, parse_duration(service["healthcheck"]["interval"]) / 2)
        found["healthcheck"] = {"interval": f"{interval}s", "retries": 60}
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


def _settle(
    document: dict[str, Any], profile: str, project: str, ports: Mapping[str, str], profiles: tuple[str, ...]
) -> None:
    """The stack file's own words for the ports, the project's name, the Compose profiles, and the file more."""
    chosen = document["profiles"][profile] or {}
    document["profiles"][profile] = chosen
    target = dict(_target(document, profile))
    target |= {"project": project, "files": [*(target.get("files") or ["compose.yaml"]), TEST_FILE]}
    chosen["target"] = target | {"compose_profiles": [*(target.get("compose_profiles") or ()), *profiles]}
    for one in (document, *(document["profiles"].values())):
        for component in ((one or {}).get("components") or {}).values():
            for name, port in ((component or {}).get("ports") or {}).items():
                if str(port) in ports:
                    component["ports"][name] = int(ports[str(port)])


def _secret_variables(resolved: Mapping[str, Any]) -> Iterator[str]:
    """Variables whose content becomes a file."""
    for one in (resolved.get("secrets") or {}).values():
        if one.get("environment"):
            yield one["environment"]


def _variable(document: Mapping[str, Any], key: str) -> str:
    """The variable that holds a credential of the backups' bucket."""
    reference: str = document["secrets"][document["backup"][key]]
    return reference.removeprefix("${").removesuffix("}")


def _target(document: Mapping[str, Any], profile: str) -> Mapping[str, Any]:
    chosen = document["profiles"].get(profile) or {}
    if "target" in chosen:
        found: Mapping[str, Any] = chosen["target"]
        return found
    if "extends" in chosen:
        return _target(document, chosen["extends"])
    base: Mapping[str, Any] = document["target"]
    return base


def self_signed() -> str:
    """A certificate and its key, as HAProxy reads them."""
    names = ["-subj", "/CN=localhost", "-days", "2", "-nodes"]
    done = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", *names, "-keyout", "-", "-out", "-"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout
