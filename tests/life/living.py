"""What a stack must offer so that its whole life can be led through it from Dagster's pages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops_pipelines.settings import load_settings
from ops_pipelines.wiring.site import Site, load_fleet
from tests.servers.docker import Docker
from tests.servers.seaweed import Seaweed


@dataclass
class Living(ABC):
    """One stack on one engine, whose files may be changed as its owner would."""

    docker: Docker
    seaweed: Seaweed
    bucket: str
    root: Path

    @property
    @abstractmethod
    def stack(self) -> str:
        """Name of the stack."""

    @property
    @abstractmethod
    def project(self) -> str:
        """Name of its Compose project."""

    @property
    @abstractmethod
    def files(self) -> list[str]:
        """Parts of its snapshots that are put back while nothing runs."""

    @property
    @abstractmethod
    def secrets(self) -> Mapping[str, str]:
        """Variables of its secrets, those of the bucket left out."""

    @abstractmethod
    def make_images(self) -> None:
        """Bring its images onto the engine."""

    @abstractmethod
    def write(self) -> None:
        """Its files, as they are first deployed."""

    @abstractmethod
    def bring_models(self) -> bool:
        """Bring its models where nothing can pull them; False where a run of `model_cache` is to pull them."""

    @abstractmethod
    def fill(self) -> None:
        """Put something into it, as its users would."""

    @abstractmethod
    def answers(self) -> Mapping[str, Any]:
        """What it answers to those who ask for what was put into it; raises where it does not."""

    @property
    @abstractmethod
    def unreachable(self) -> tuple[type[Exception], ...]:
        """What `answers` raises where nothing runs."""

    @abstractmethod
    def version(self) -> str:
        """Which version runs, asked of the running thing."""

    @abstractmethod
    def upgrade(self, version: str) -> None:
        """Declare another version."""

    @abstractmethod
    def spoil(self) -> None:
        """Declare a version that never gets well."""

    @property
    def folder(self) -> Path:
        """Folder of its files."""
        return self.root / "stacks" / self.stack

    @property
    def environ(self) -> dict[str, str]:
        """What a process that acts on it is given."""
        return {
            **self.docker.environ,
            **self.secrets,
            "OPS_HOME": str(self.root / "home"),
            "OPS_STACKS_DIR": str(self.root / "stacks"),
            "S3A": self.seaweed.access_key,
            "S3S": self.seaweed.secret_key,
        }

    @property
    def site(self) -> Site:
        """The stack, as its files stand."""
        return load_fleet(load_settings(self.environ, cwd=self.folder)).site(self.stack)

    def remove(self) -> None:
        """Leave nothing of it on the engine."""
        for project in (self.project, f"{self.project}--drill"):
            self.docker.remove(project)

    @property
    def running(self) -> dict[str, str]:
        """Container -> when it was started."""
        return {one.name: one.started for one in self.docker.engine.containers(self.project)}
