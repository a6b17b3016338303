"""The embedded services as programs of supervisord."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ops_pipelines.policy.processes import LOCALHOST, Program
from ops_pipelines.policy.programs import port_of
from ops_pipelines.stack.model import Stack
from ops_pipelines.up.environment import write_private

_METRICS = (("exporter", "http"), ("model-server", "admin"))
"""Kind of a component, and its port that answers /metrics."""


@dataclass(frozen=True)
class Service:
    """One embedded service: its program, the URL that answers once it is ready, and who may come before."""

    program: Program
    ready: str
    """URL of an HTTP GET, or `tcp://HOST:PORT`."""
    title: str


def object_store(home: Path, env: Mapping[str, str]) -> Service:
    """SeaweedFS as S3, with one generated identity."""
    folder = home / "seaweedfs"
    (folder / "data").mkdir(parents=True, exist_ok=True)
    identity = {
        "name": "ops-pipelines",
        "credentials": [{"accessKey": env["OPS_S3_ACCESS_KEY"], "secretKey": env["OPS_S3_SECRET_KEY"]}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    write_private(folder / "s3.json", json.dumps({"identities": [identity]}))
    command = (
        str(_beside_python("weed")), "mini", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        f"-s3.port={env['OPS_S3_PORT']}", f"-master.port={env['OPS_WEED_MASTER_PORT']}",
        f"-volume.port={env['OPS_WEED_VOLUME_PORT']}", f"-filer.port={env['OPS_WEED_FILER_PORT']}",
        f"-admin.port={env['OPS_WEED_ADMIN_PORT']}", "-admin.ui=false", "-webdav=false",
        "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={folder / 's3.json'}", "-s3.autoCreateBucket=false",
        # As many volumes as the disk holds: the usual 20 of 128 MB are full with one larger model.
        "-volume.max=0", "-master.volumeSizeLimitMB=1024", "-master.telemetry=false",
    )  # fmt: skip
    # It ends in 2 s, or waits a minute for a spare connection of its own: what was written is safe either way.
    program = Program("ops.seaweedfs", command, {"GOMEMLIMIT": "256MiB"}, str(folder), 6.0)
    return Service(program, f"tcp://127.0.0.1:{env['OPS_S3_PORT']}", "object store (SeaweedFS)")


def vector_database(home: Path, env: Mapping[str, str]) -> Service:
    """Milvus Lite's server."""
    folder = home / "milvus"
    folder.mkdir(parents=True, exist_ok=True)
    command = (
        str(_beside_python("milvus-lite")), "server", f"--data-dir={folder}", "--host=127.0.0.1",
        f"--port={env['OPS_MILVUS_PORT']}",
    )  # fmt: skip
    program = Program("ops.milvus-lite", command, {}, str(folder))
    return Service(program, f"tcp://127.0.0.1:{env['OPS_MILVUS_PORT']}", "vector database (Milvus Lite)")


def scraped(stack: Stack) -> list[str]:
    """Addresses of a stack whose metrics are worth keeping: exporters, and model servers with a port for it."""
    found: list[str] = []
    for component in stack.components.values():
        for kind, port in _METRICS:
            if component.kind == kind and component.address is None and port in component.ports:
                numbers = (port_of(component, port, replica) for replica in range(component.replicas))
                found += [f"{LOCALHOST}:{number}" for number in numbers]
    return found


def metrics_server(home: Path, env: Mapping[str, str], targets: Sequence[str]) -> Service | None:
    """Prometheus, where it is installed; it reads the metrics of `targets`."""
    found = shutil.which("prometheus")
    if found is None:
        return None
    folder = home / "prometheus"
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "global": {"scrape_interval": "15s"},
        "scrape_configs": [{"job_name": "stacks", "static_configs": [{"targets": list(targets)}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config), encoding="utf-8")
    command = (
        found, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
        "--storage.tsdb.retention.time=15d", f"--web.listen-address=127.0.0.1:{env['OPS_PROMETHEUS_PORT']}",
    )  # fmt: skip
    program = Program("ops.prometheus", command, {}, str(folder))
    return Service(program, f"http://127.0.0.1:{env['OPS_PROMETHEUS_PORT']}/-/ready", "metrics (Prometheus)")


def code_server(root: Path, env: Mapping[str, str]) -> Service:
    """Dagster's code server: one copy of the stacks' definitions for the webserver and the daemon."""
    command = (
        sys.executable, "-m", "dagster", "code-server", "start", "-m", "ops_pipelines.definitions",
        "--host", "127.0.0.1", "--port", env["OPS_CODE_PORT"], "--location-name", "ops_pipelines",
    )  # fmt: skip
    program = _dagster_program("ops.dagster-code", command, root)
    return Service(program, f"tcp://127.0.0.1:{env['OPS_CODE_PORT']}", "Dagster's code server")


def webserver(root: Path, home: Path, env: Mapping[str, str]) -> Service:
    """The Dagster UI."""
    command = (
        sys.executable, "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", env["OPS_DAGSTER_PORT"],
        "-w", str(_workspace(home, env)),
    )  # fmt: skip
    program = _dagster_program("ops.dagster-webserver", command, root, 10.0)
    return Service(program, f"{env['OPS_DAGSTER_URL']}/server_info", "Dagster's pages")


def daemon(root: Path, home: Path, env: Mapping[str, str]) -> Service:
    """Dagster's daemon: schedules, sensors, the queue of runs."""
    command = (str(_beside_python("dagster-daemon")), "run", "-w", str(_workspace(home, env)))
    program = _dagster_program("ops.dagster-daemon", command, root)
    return Service(program, "", "Dagster's daemon")


def _workspace(home: Path, env: Mapping[str, str]) -> Path:
    path = home / "dagster" / "workspace.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    server = {"host": "127.0.0.1", "port": int(env["OPS_CODE_PORT"]), "location_name": "ops_pipelines"}
    path.write_text(json.dumps({"load_from": [{"grpc_server": server}]}), encoding="utf-8")
    return path


def _dagster_program(name: str, command: tuple[str, ...], root: Path, stop: float = 20.0) -> Program:
    """Dagster resolves the stacks' secrets itself, so it receives the whole environment."""
    return Program(name, command, {"DAGSTER_HOME": str(root)}, str(root), stop, inherit=True)


def _beside_python(name: str) -> Path:
    return Path(sys.executable).with_name(name)
