"""Addresses and credentials of the embedded services, kept in the home folder (`run.env`, mode 0600).

Ports are chosen once: the usual one where it is free, else a free one. A later start keeps its ports as long
as nobody else has taken them. A port that is set in the environment is taken as it is.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ops_pipelines.errors import OpsError, UsageError
from ops_pipelines.settings import RUN_ENV, Settings, read_env_file


@dataclass(frozen=True)
class PortWish:
    """A port that is wanted: the variable it is kept under, the usual number, how many follow it."""

    variable: str
    usual: int
    count: int = 1
    grpc: bool = False
    """It stands for two: SeaweedFS serves gRPC at a number that is 10000 higher."""


PORTS = (
    PortWish("OPS_S3_PORT", 8333, grpc=True),
    PortWish("OPS_WEED_MASTER_PORT", 9333, grpc=True),
    PortWish("OPS_WEED_VOLUME_PORT", 9340, grpc=True),
    PortWish("OPS_WEED_FILER_PORT", 8888, grpc=True),
    PortWish("OPS_WEED_ADMIN_PORT", 9350, grpc=True),
    PortWish("OPS_MILVUS_PORT", 19530),
    PortWish("OPS_DAGSTER_PORT", 3000),
    PortWish("OPS_CODE_PORT", 4266),
    PortWish("OPS_PROMETHEUS_PORT", 9090),
    PortWish("OPS_GPU_EXPORTER_PORT", 9400),
    PortWish("OPS_MODEL_SERVER_PORT", 8085),
    PortWish("OPS_MODEL_SERVER_ADMIN_PORT", 8090, count=8),
    PortWish("OPS_OLLAMA_PORT", 11434),
)
_GRPC = 10_000
_LAST, _END = 50_000, 65_536
_GIVEN = ("OPS_STACKS_DIR", "OPS_PROFILES", "OPS_DEMO_CORPUS")
_CREDENTIALS = ("OPS_S3_ACCESS_KEY", "OPS_S3_SECRET_KEY")


class PortTaken(OpsError):
    """A port that a person has chosen cannot be had."""


def given_of(settings: Settings) -> dict[str, str]:
    """What a person has set, its paths absolute."""
    return {name: settings.environ[name] for name in settings.given}


def prepare_environment(
    home: Path, *, is_free: Callable[[int], bool], given: Mapping[str, str], ollama: Path | None
) -> dict[str, str]:
    """Choose what is not chosen yet, write `run.env`, and return its content.

    `given` is the process environment: what a person has set there is written down, so that a command in another
    terminal sees the same stacks; what is no longer set there is forgotten. `ollama` is the program that serves
    the models, where there is one. Raises PortTaken where a port that is given cannot be had.
    """
    kept = {
        name: value
        for name, value in read_env_file(home / RUN_ENV).items()
        if name not in (*_GIVEN, "OPS_OLLAMA")
    }
    kept |= {name: given[name] for name in _CREDENTIALS if given.get(name)}
    chosen = {**kept, **choose_ports(kept, PORTS, is_free=is_free, given=given)}
    chosen.setdefault("OPS_S3_ACCESS_KEY", secrets.token_hex(10))
    chosen.setdefault("OPS_S3_SECRET_KEY", secrets.token_urlsafe(32))
    chosen["OPS_S3_ENDPOINT"] = f"http://127.0.0.1:{chosen['OPS_S3_PORT']}"
    chosen["OPS_MILVUS_URI"] = f"http://127.0.0.1:{chosen['OPS_MILVUS_PORT']}"
    chosen["OPS_DAGSTER_URL"] = f"http://127.0.0.1:{chosen['OPS_DAGSTER_PORT']}"
    chosen["OPS_DAGSTER_STORAGE"] = str(home / "dagster")
    chosen["OPS_DAGSTER_LOGS"] = str(home / "dagster" / "logs")
    chosen |= {name: given[name] for name in _GIVEN if given.get(name)}
    if ollama is not None:
        chosen["OPS_OLLAMA"] = str(ollama)
        chosen["OPS_PROFILES"] = _with_ollama(chosen.get("OPS_PROFILES", ""))
    write_private(home / RUN_ENV, "".join(f"{name}={value}\n" for name, value in sorted(chosen.items())))
    return chosen


def _with_ollama(profiles: str) -> str:
    """The chosen profiles, Obelisk's form with Ollama where they name none for it."""
    names = [part.partition("=") for part in profiles.split(",") if part.strip()]
    if any(not sep or name.strip() in ("obelisk", "*") for name, sep, _ in names):
        return profiles
    return ",".join(part for part in (profiles, "obelisk=local-ollama") if part)


def choose_ports(
    kept: Mapping[str, str],
    wishes: tuple[PortWish, ...],
    *,
    is_free: Callable[[int], bool],
    given: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """A port for each wish: the kept one, the usual one or the next that is free, none of them twice.

    One that is `given` is taken, and no other. Raises PortTaken where it is not free.
    """
    taken: set[int] = set()
    chosen: dict[str, str] = {}
    fixed = given or {}
    for wish in sorted(wishes, key=lambda wish: not fixed.get(wish.variable)):
        number = _number(fixed[wish.variable], wish) if fixed.get(wish.variable) else None
        port = next(
            (
                start
                for start in _starts(wish, kept, number)
                if all(_usable(p, taken, is_free) for p in _block(start, wish))
            ),
            None,
        )
        if port is None:
            raise _taken(wish, number)
        taken.update(_block(port, wish))
        chosen[wish.variable] = str(port)
    return chosen


def _starts(wish: PortWish, kept: Mapping[str, str], given: int | None) -> Iterator[int]:
    if given is not None:
        yield given
        return
    if kept.get(wish.variable, "").isdecimal():
        yield int(kept[wish.variable])
    yield from range(wish.usual, _LAST, wish.count)


def _number(text: str, wish: PortWish) -> int:
    if not text.isdecimal():
        raise UsageError(
            f"{wish.variable} is {text!r}, which is no port", remedy="set a number, or leave it out"
        )
    return int(text)


def _taken(wish: PortWish, given: int | None) -> PortTaken:
    if given is None:
        return PortTaken(f"no port for {wish.variable} is free", remedy="stop what holds so many ports")
    others = ", ".join(str(port) for port in _block(given, wish)[1:])
    return PortTaken(
        f"{wish.variable} is {given}, and that port"
        + (f" (or one of {others})" if others else "")
        + " is taken",
        remedy=f"stop what holds it (`ss -ltnp` shows it), set another number, or leave {wish.variable} out: a free "
        "one is then chosen",
    )


def _block(start: int, wish: PortWish) -> list[int]:
    return [*range(start, start + wish.count), *([start + _GRPC] if wish.grpc else [])]


def _usable(port: int, taken: set[int], is_free: Callable[[int], bool]) -> bool:
    return 0 < port < _END and port not in taken and is_free(port)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
