"""The stacks of deploy/ as they are declared, and as Compose itself reads their files: no engine is asked."""

from __future__ import annotations

import functools
import itertools
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ops_pipelines.stack.components import ComposeTarget
from ops_pipelines.stack.loader import load_stack
from ops_pipelines.stack.model import Stack
from ops_pipelines.wiring.site import linked
from tests.parts import require

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
_NEEDED = re.compile(r"\$\{([A-Z][A-Z0-9_]*)(:\?[^}]*)?\}")
Services = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Form:
    """One stack in one of its profiles that run on Compose."""

    stack: str
    profile: str

    @property
    def folder(self) -> Path:
        return DEPLOY / self.stack

    @property
    def declared(self) -> Stack:
        """What the stack file says."""
        return _declared(self.folder / "stack.yaml", self.profile)

    @property
    def target(self) -> ComposeTarget:
        found = self.declared.target
        assert isinstance(found, ComposeTarget)
        return found

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(self.folder / name for name in self.target.files)

    @property
    def compose_profiles(self) -> tuple[str, ...]:
        """Compose profiles that its files know."""
        services = [one for file in self.files for one in _raw(file)["services"].values()]
        return tuple(sorted({name for one in services if one for name in one.get("profiles") or ()}))

    @property
    def choices(self) -> Iterator[tuple[str, ...]]:
        """Every choice of Compose profiles."""
        for count in range(len(self.compose_profiles) + 1):
            yield from itertools.combinations(self.compose_profiles, count)

    def project(self, profiles: tuple[str, ...] | None = None) -> dict[str, Any]:
        """The project as Compose resolves it; without a choice, with every Compose profile that the form declares."""
        named = {one.compose_profile for one in self.declared.components.values() if one.compose_profile}
        return _resolved(self.files, tuple(sorted(named)) if profiles is None else profiles)

    def as_written(self) -> dict[str, Any]:
        """The project with its variables as they stand: what a deploy reads."""
        return _resolved(self.files, (), "--no-interpolate")

    @property
    def services(self) -> Services:
        """The services of every Compose profile that the form declares."""
        found: Services = self.project()["services"]
        return found

    def __str__(self) -> str:
        return f"{self.stack}-{self.profile}"


def stack_files() -> list[Path]:
    """The stack files of deploy/."""
    return sorted(DEPLOY.glob("*/stack.yaml"))


def forms() -> list[Form]:
    """Every form of every stack that runs on Compose."""
    found = []
    for file in stack_files():
        for profile in load_stack(file, environ=environ_of(file)).profiles:
            form = Form(file.parent.name, profile)
            if isinstance(form.declared.target, ComposeTarget):
                found.append(form)
    return found


def environ_of(*files: Path) -> dict[str, str]:
    """A word for every variable that files ask for and have no default for."""
    text = "\n".join(file.read_text() for file in files)
    return {name: environ_word(name) for name, _ in _NEEDED.findall(text)}


def environ_word(name: str) -> str:
    """A variable's word, as long as a secret must be."""
    return f"a-word-for-{name.lower()}".ljust(32, "x")


@functools.cache
def _declared(file: Path, profile: str) -> Stack:
    return linked(load_stack(file, profile=profile, environ=environ_of(file))).stack


@functools.cache
def _raw(file: Path) -> dict[str, Any]:
    class Loader(yaml.SafeLoader):
        """Knows Compose's own tags."""

    Loader.add_multi_constructor("!", lambda loader, _, node: _plain(loader, node))
    found: dict[str, Any] = yaml.load(file.read_text(), Loader)  # noqa: S506 - a safe loader with two tags
    return found


def _plain(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return None


@functools.cache
def _resolved(files: tuple[Path, ...], profiles: tuple[str, ...], *options: str) -> dict[str, Any]:
    words = [word for file in files for word in ("-f", str(file))]
    words += [word for name in profiles for word in ("--profile", name)]
    done = subprocess.run(
        [require("compose").path, *words, "config", *options, "--format", "json"],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environ_of(*files)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "variable is not set" not in done.stderr, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
