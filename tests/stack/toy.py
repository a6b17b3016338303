"""A small declaration with one of each thing that the loader must explain."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from ops_pipelines.errors import DeclarationError
from ops_pipelines.stack.base import Declared
from ops_pipelines.stack.loader import LoadedStack, Problem, load_stack
from ops_pipelines.stack.references import SecretRef
from ops_pipelines.stack.units import Duration


class Ollama(Declared):
    kind: Literal["ollama"]
    port: Annotated[int, Field(ge=1, le=65535)] = 11434
    gpu: bool = False
    models: tuple[str, ...] = ()


class Redis(Declared):
    kind: Literal["redis"]
    port: int
    """Port that clients use.

    More words that no message needs."""
    password: str | None = None


class Named(Declared):
    name: str
    share: float = 1.0


class Toy(Declared):
    stack: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
    mode: Literal["observe", "approve", "auto"] = "observe"
    components: dict[str, Annotated[Ollama | Redis, Field(discriminator="kind")]] = Field(
        default_factory=dict
    )
    collections: list[Named | str] = Field(default_factory=list)
    environment: dict[str, str] = Field(default_factory=dict)
    secrets: dict[str, SecretRef] = Field(default_factory=dict)
    every: Duration = 30.0
    retries: int | None = None
    region: str = "here"

    @field_validator("region")
    @classmethod
    def _no_moon(cls, value: str) -> str:
        if value.startswith("moon"):
            raise ValueError(f"there is no region {value}")
        return value


def load(
    path: Path, text: str, environ: Mapping[str, str] | None = None, profile: str | None = None
) -> LoadedStack:
    """The toy stack of a file that holds `text`."""
    path.write_text(text, encoding="utf-8")
    return load_stack(path, profile=profile, environ=environ or {}, model=Toy)


def problems(
    path: Path, text: str, environ: Mapping[str, str] | None = None, profile: str | None = None
) -> tuple[Problem, ...]:
    """All problems of a file that holds `text`."""
    try:
        loaded = load(path, text, environ, profile=profile)
    except DeclarationError as error:
        return tuple(item for item in error.problems if isinstance(item, Problem))
    return loaded.warnings


def told(
    path: Path, text: str, environ: Mapping[str, str] | None = None, profile: str | None = None
) -> list[str]:
    """The problems as a user reads them, with the folder left out."""
    return [
        str(item).replace(f"{path.parent}/", "") for item in problems(path, text, environ, profile=profile)
    ]
