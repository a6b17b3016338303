"""Docker Compose v2, by its command line: the one reader of Compose files, and the one that carries them out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops_pipelines.adapters import _process
from ops_pipelines.errors import CommandFailed, CommandMissing

_ASK = 60.0
"""Seconds for a question; starting and stopping have limits of their own."""
_INSTALL = "install Docker with the Compose plugin (v2.20 or newer): https://docs.docker.com/compose/install/"
_LOOK = "look at the words of Docker Compose above"


@dataclass(frozen=True)
class Compose:
    """`docker compose` for one project. `environ` holds what the project's variables stand for, secrets included."""

    project: str
    directory: Path
    """Relative paths of the project's files start here."""
    environ: Mapping[str, str] = field(repr=False)
    secrets: Sequence[str] = field(default=(), repr=False)
    """Values that are masked in errors."""
    known: dict[tuple[str, Path], dict[str, Any]] = field(default_factory=dict, repr=False, compare=False)
    """Answers about files that are named by their content, so that each is asked for once."""

    def version(self) -> str:
        """Version of the plugin. Raises CommandMissing where Docker or the plugin is not here."""

        def ask() -> dict[str, Any]:
            try:
                done = self._run("version", "--short", timeout=_ASK)
            except CommandFailed as error:
                raise CommandMissing("Docker is here without its Compose plugin", remedy=_INSTALL) from error
            return {"version": done.strip().lstrip("v")}

        return str(self._once("version", Path(), ask)["version"])

    def model(
        self, files: Sequence[Path], *, profiles: Sequence[str] = (), env_file: Path | None = None
    ) -> dict[str, Any]:
        """The model of Compose files, merged, with `${NAME}` as it is written. Raises CommandFailed."""
        return self._model(*_files(files, profiles, env_file), "config", "--no-interpolate")

    def resolved(self, file: Path) -> dict[str, Any]:
        """The same of one file with every variable filled in: it may hold secrets, and goes nowhere."""
        return self._once("config", file, lambda: self._model("-f", str(file), "config"))

    def hashes(self, file: Path) -> dict[str, str]:
        """Hash of each service's configuration, as Compose labels its containers."""

        def ask() -> dict[str, Any]:
            lines = self._run("-f", str(file), "config", "--hash", "*", timeout=_ASK).splitlines()
            found = (line.strip().partition(" ") for line in lines)
            return {name: digest for name, _, digest in found if digest}

        return self._once("hash", file, ask)

    def ask_ahead(self, file: Path) -> None:
        """Ask for `resolved` and `hashes` at the same time; each then answers at once. Raises CommandFailed."""
        with ThreadPoolExecutor(1) as other:
            hashes = other.submit(self.hashes, file)
            self.resolved(file)
        hashes.result()

    def _once(self, what: str, file: Path, ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        key = (what, file)
        if key not in self.known:
            self.known[key] = ask()
        return self.known[key]

    def up(
        self,
        file: Path,
        *,
        within: float,
        only: Sequence[str] = (),
        alone: bool = False,
        remove_orphans: bool = True,
    ) -> None:
        """Make the project's containers as `file` says and start them, in the order in which they wait for each other.

        `only` names some services; what they wait for is brought up too, unless they are to start `alone`. Compose 2.26
        then knows them by another hash, and makes them anew the next time: that is for services that do not stay.

        `--wait` is not used: it takes a job that ended well for a failure. Raises CommandFailed with what Compose
        said: a dependency that does not become healthy, an image that cannot be had."""
        words = ["up", "--detach", "--no-build"]
        words += ["--remove-orphans"] if remove_orphans else []
        words += ["--no-deps"] if alone else []
        words += only
        self._run("-f", str(file), *words, timeout=within + _ASK)

    def down(self, file: Path | None, *, volumes: bool, within: float) -> None:
        """Stop and remove the project's containers and networks, and its volumes where asked."""
        named = ["-f", str(file)] if file else []
        self._run(*named, "down", "--remove-orphans", *(["--volumes"] if volumes else []), timeout=within)

    def build(self, file: Path, services: Sequence[str]) -> int:
        """Build the images of services that have a build section, on this terminal; the status of Compose."""
        return self._watch("-f", str(file), "build", *services)

    def logs(self, file: Path, service: str | None, *, lines: int, follow: bool) -> int:
        """Show what containers print, on this terminal; the status of Compose."""
        words = [
            "logs",
            "--tail",
            str(lines),
            *(["--follow"] if follow else []),
            *([service] if service else []),
        ]
        return self._watch("-f", str(file), *words)

    def _model(self, *words: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._run(*words, "--format", "json", timeout=_ASK))
        return found

    def _watch(self, *words: str) -> int:
        return _process.hand_over(
            [*self._command, *words], remedy=_INSTALL, environ=self.environ, cwd=self.directory
        )

    @property
    def _command(self) -> list[str]:
        return [
            "docker",
            "compose",
            "--project-name",
            self.project,
            "--project-directory",
            str(self.directory),
        ]

    def _run(self, *words: str, timeout: float) -> str:
        done = _process.run(
            [*self._command, "--ansi", "never", "--progress", "plain", *words],
            timeout=timeout,
            remedy=_LOOK,
            environ=self.environ,
            cwd=self.directory,
            secrets=self.secrets,
        )
        return done.stdout.decode("utf-8", "replace")


def _files(files: Sequence[Path], profiles: Sequence[str], env_file: Path | None) -> list[str]:
    words = [word for file in files for word in ("-f", str(file))]
    words += [word for profile in profiles for word in ("--profile", profile)]
    return [*words, *(("--env-file", str(env_file)) if env_file else ())]
