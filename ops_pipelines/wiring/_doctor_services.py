"""The home folder, who holds it, its ports, and whether its services answer."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator

from ops_pipelines.adapters.health import check_address
from ops_pipelines.adapters.machine import holders, port_state
from ops_pipelines.policy.plan import Finding
from ops_pipelines.settings import RUN_ENV, Settings, read_env_file

_SERVICES = (
    ("OPS_S3_ENDPOINT", "object store"),
    ("OPS_MILVUS_URI", "vector database"),
    ("OPS_DAGSTER_URL", "Dagster's pages"),
)
_USUAL = {
    "OPS_S3_PORT": 8333, "OPS_MILVUS_PORT": 19530, "OPS_DAGSTER_PORT": 3000, "OPS_PROMETHEUS_PORT": 9090,
    "OPS_GPU_EXPORTER_PORT": 9400, "OPS_MODEL_SERVER_PORT": 8085, "OPS_OLLAMA_PORT": 11434,
}  # fmt: skip
_START = "start them: make run, or ops-pipelines up"


def home_findings(settings: Settings) -> Iterator[Finding]:
    """Whether the home folder can be written, and who holds it."""
    home = settings.home
    parent = next(path for path in (home, *home.parents) if path.exists())
    writable = parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)
    state = "is there" if parent == home else "will be made"
    yield Finding(
        "home", writable, f"{home} {state}" if writable else f"{home} cannot be written",
        "" if writable else "set OPS_HOME to a folder of this user",
    )  # fmt: skip
    holder = held_by(settings)
    yield Finding("home/held", True, f"held by {holder}" if holder else "held by nobody", severity="info")


def held_by(settings: Settings) -> str | None:
    """Who runs on the home folder now, in words; None where nobody does."""
    try:
        handle = os.open(settings.home / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # Shared and at once given back: it only shows whether somebody has it for himself.
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        try:
            facts = json.loads(os.pread(handle, 4096, 0))
            return f"process {facts['pid']} since {facts['since']}"
        except (ValueError, KeyError, TypeError):
            return "a process that has not said who it is yet"
    else:
        return None
    finally:
        os.close(handle)


def port_findings(settings: Settings) -> Iterator[Finding]:
    """Ports that the embedded services want and that somebody listens on."""
    if held_by(settings):
        return  # they are ours
    for variable, usual in _USUAL.items():
        number = settings.environ.get(variable, "")
        port = int(number) if number.isdecimal() else usual
        state = port_state(port)
        if state == "free":
            continue
        found = holders(port)
        who = ", ".join(f"{each.name} (process {each.pid})" for each in found or ()) or "somebody"
        words = (
            f"{who} listens on it; the next start takes another one" if state == "taken" else f"it is {state}"
        )
        yield Finding(f"port/{port}", True, words, severity="info")


def service_findings(settings: Settings) -> Iterator[Finding]:
    """Whether the services of `run.env` answer. Where nobody started them, they are not missed."""
    kept = read_env_file(settings.home / RUN_ENV)
    running = held_by(settings) is not None
    for variable, title in _SERVICES:
        subject = f"service/{title}"
        address = kept.get(variable)
        if address is None:
            yield Finding(subject, True, f"never started on this home folder; {_START}", severity="info")
            continue
        found = check_address(subject, address)
        if found.ok is False and not running:
            yield Finding(subject, True, f"not running; {_START}", severity="info")
        elif found.ok is False:
            remedy = f"look at its log below {settings.supervisor_dir}"
            yield Finding(subject, False, found.message, remedy)
        else:
            yield found
