"""A stack on a Docker Engine: its Compose files rendered, its variables, what a deploy works with."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets as random_secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ops_pipelines.adapters.compose import Compose
from ops_pipelines.adapters.docker_engine import DockerEngine
from ops_pipelines.engines import compose as engine
from ops_pipelines.errors import OpsError, UsageError
from ops_pipelines.policy.adapters_project import with_added
from ops_pipelines.policy.compose_profiles import switched_on
from ops_pipelines.policy.compose_project import (
    Project,
    is_program,
    make_project,
    pinned_files,
    pinned_of,
    placed,
    secret_variables,
)
from ops_pipelines.stack.components import ComposeTarget
from ops_pipelines.wiring.connect import secret
from ops_pipelines.wiring.docker_hosts import engine_environ
from ops_pipelines.wiring.files import write_whole
from ops_pipelines.wiring.site import Site

_LARGEST = 1 << 20
"""Bytes above which a mounted file is data, not configuration."""
_SLACK = 60.0
"""Seconds beside what the components themselves may take."""
_SECRETS_LABEL = "io.ops-pipelines.secrets"
_SALT = "salt"


@dataclass(frozen=True)
class ComposeSite:
    """One stack on a Docker Engine."""

    site: Site

    @property
    def target(self) -> ComposeTarget:
        """The declaration's target. Raises UsageError where it is another."""
        target = self.site.stack.target
        if not isinstance(target, ComposeTarget):
            raise UsageError(
                f"{self.site.name} does not run on target compose", remedy="choose another profile"
            )
        return target

    @property
    def files(self) -> tuple[Path, ...]:
        """The Compose files."""
        return tuple((self.site.folder / one).resolve() for one in self.target.files)

    @property
    def profiles(self) -> tuple[str, ...]:
        """Compose profiles that are switched on: the declaration's, else COMPOSE_PROFILES, as Compose reads it."""
        named = self.environ.get("COMPOSE_PROFILES", "").split(",")
        return tuple(self.target.compose_profiles) or tuple(one.strip() for one in named if one.strip())

    @property
    def missing_files(self) -> tuple[Path, ...]:
        """Those of them that are not there."""
        return tuple(one for one in self.files if not one.is_file())

    @property
    def directory(self) -> Path:
        """Where relative paths of the project start."""
        return self.files[0].parent

    @cached_property
    def environ(self) -> dict[str, str]:
        """What the project's variables stand for, secrets of the stack not included. The environment wins."""
        import dotenv

        named = self.target.env_file
        file = self.site.folder / named if named else self.directory / ".env"
        if named and not file.is_file():
            raise UsageError(
                f"{file} is not there", remedy=f"correct target.env_file in {self.site.loaded.path}"
            )
        values = (
            {k: v for k, v in dotenv.dotenv_values(file).items() if v is not None} if file.is_file() else {}
        )
        found = {**values, **self.site.settings.environ}
        return engine_environ(self.site, self.target, found)

    @cached_property
    def docker(self) -> DockerEngine:
        """The engine."""
        return DockerEngine(self.environ)

    @cached_property
    def _known(self) -> dict[tuple[str, Path], dict[str, Any]]:
        return {}

    @property
    def project(self) -> Project:
        """The project as declared when first asked for. Raises UsageError, CommandMissing, CommandFailed."""
        wait(self._ahead)
        return self._declared

    @cached_property
    def _declared(self) -> Project:
        return self._project(self.profiles)

    @property
    def compose_version(self) -> str:
        """Version of the Compose plugin. Raises CommandMissing."""
        wait(self._ahead)
        return self._version

    @cached_property
    def _version(self) -> str:
        return self.tool(None).version()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read the project, and ask Compose what it comes to, while the `with` does something else."""

        def read() -> None:
            project = self._declared
            self.tool(project).ask_ahead(self.place(project))

        with ThreadPoolExecutor(2) as background:
            # What fails is met again by whoever needs it.
            self._ahead.extend((background.submit(read), background.submit(lambda: self._version)))
            yield

    @cached_property
    def _ahead(self) -> list[Future[Any]]:
        return []

    @cached_property
    def of_all_profiles(self) -> Project:
        """The same with the services of every Compose profile, those switched off included. Raises as `project`."""
        return self._project(("*",))

    @cached_property
    def _model(self) -> dict[str, Any]:
        return self.tool(None).model(self.files, profiles=self.profiles, env_file=None)

    def _project(self, profiles: Sequence[str]) -> Project:
        made = make_project(
            self.target.project,
            switched_on(self._model, profiles),
            self.environ,
            secret_names=self._secret_variables,
            read=self._read,
            runs=lambda source: os.access(source, os.X_OK),
        )
        return with_added(made, self.site.stack)

    def hands(self) -> engine.Hands:
        """What a deploy works with."""
        return engine.Hands(self.tool, self.docker, self.place)

    def place(self, project: Project) -> Path:
        """Write a project for Compose, with its files, and return where."""
        folder = self.site.state / "compose"
        files = folder / "files"
        for path, content in pinned_files(project):
            at = files / path
            if not at.is_file() or at.read_text(encoding="utf-8") != content:
                write_whole(at, content)
            if is_program(path):
                at.chmod(at.stat().st_mode | 0o555)
        for proxy in self.proxies:
            for path, content in pinned_of(project, proxy) if proxy in project.services else ():
                if not (self.live / path).is_file():  # it changes in place while a proxy reads it
                    write_whole(self.live / path, content)
        labels = self._labels(project)
        model = placed(project, str(files), labels, live=self.proxies, live_folder=str(self.live))
        text = json.dumps(model, indent=1, sort_keys=True)
        file = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
        if not file.is_file():
            write_whole(file, text)
        return file

    @property
    def live(self) -> Path:
        """Folder of the configuration files of proxies that move traffic between versions."""
        return self.site.state / "compose" / "live"

    @property
    def proxies(self) -> tuple[str, ...]:
        """Services that move traffic between versions of others."""
        named = (one.blue_green.door for one in self.site.stack.components.values() if one.blue_green)
        return tuple(dict.fromkeys(named))

    def tool(self, project: Project | None) -> Compose:
        """Compose; with what a project's variables stand for, where one is given. Raises SecretMissing."""
        if project is None:
            return Compose(self.target.project, self.directory, self.environ, known=self._known)
        values = self._values(project.references)
        environ = {**self.environ, **project.variables, **values}
        return Compose(project.name, self.directory, environ, tuple(values.values()), self._known)

    def values_or_errors(self, project: Project) -> dict[str, str | None]:
        """Value of each secret variable; None where it cannot be had."""
        found: dict[str, str | None] = {}
        for name in project.references:
            try:
                found[name] = self._values([name]).get(name)
            except OpsError:
                found[name] = None
        return found

    def _values(self, names: Sequence[str]) -> dict[str, str]:
        """Values of variables that are secrets: the stack's by their references, others from the environment."""
        declared = self._secret_variables
        found: dict[str, str] = {}
        for name in names:
            value = secret(self.site, declared[name]) if name in declared else self.environ.get(name)
            if value is not None:
                found[name] = value
        return found

    @cached_property
    def _secret_variables(self) -> dict[str, str]:
        """Variable -> name of the stack's secret that refers to it."""
        return {
            reference.target: name
            for name, reference in self.site.stack.secrets.items()
            if reference.kind == "environment"
        }

    def _labels(self, project: Project) -> dict[str, dict[str, str]]:
        """A label that changes with the secrets that a service receives as files: Compose's own hash does not."""
        labels: dict[str, dict[str, str]] = {}
        for service in project.services:
            names = secret_variables(project.model, service)
            if names:
                values = self._values(names)
                text = "\0".join(f"{name}={values.get(name, '')}" for name in sorted(names))
                digest = hmac.new(self._salt, text.encode(), hashlib.sha256).hexdigest()
                labels[service] = {_SECRETS_LABEL: digest[:16]}
        return labels

    @cached_property
    def _salt(self) -> bytes:
        file = self.site.state / "compose" / _SALT
        if not file.is_file():
            write_whole(file, random_secrets.token_hex(32), private=True)
        return file.read_bytes()

    def _read(self, source: str) -> str | None:
        path = Path(source)
        inside = path.is_relative_to(self.directory) or path.is_relative_to(self.site.folder)
        if not inside or not path.is_file() or path.stat().st_size > _LARGEST:
            return None
        try:
            return path.read_text(encoding="utf-8")
        except ValueError:  # not a text: data
            return None


_read_once: ContextVar[ComposeSite | None] = ContextVar("read_once", default=None)


@contextmanager
def read_once(site: Site) -> Iterator[None]:
    """Begin to read a stack's project, and have `compose_site` give the same one until the `with` ends."""
    if compose_site(site) is _read_once.get():
        yield
        return
    here = ComposeSite(site)
    held = _read_once.set(here)
    try:
        with here.reading():
            yield
    finally:
        _read_once.reset(held)


def compose_site(site: Site) -> ComposeSite:
    """A stack on a Docker Engine, as it is declared now; within `read_once`, as it was when that began."""
    held = _read_once.get()
    return held if held is not None and held.site is site else ComposeSite(site)


def within(site: Site) -> float:
    """Seconds that the whole project may take to become healthy: along the slowest chain of what waits for what."""
    components, longest = site.stack.components, dict[str, float]()

    def chain(name: str) -> float:
        if name not in longest:
            one = components[name]
            longest[name] = one.health.within + max((chain(d) for d in one.depends_on), default=0.0)
        return longest[name]

    return max((chain(name) for name in components), default=_SLACK) + _SLACK
