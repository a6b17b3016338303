"""A stack with a volume moved from processes to Compose, and on to another engine: real ones, by CLI and by the job."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest
import yaml
from click.testing import CliRunner

from ops_pipelines.adapters.supervisor import Supervisord
from ops_pipelines.cli.root import cli
from ops_pipelines.defs.jobs import migrate as migrate_job
from ops_pipelines.errors import DeployFailed, UsageError
from ops_pipelines.settings import load_settings
from ops_pipelines.wiring import deployments, migrations
from ops_pipelines.wiring.site import Fleet, load_fleet
from tests.servers.docker import IMAGE, Docker
from tests.servers.seaweed import Seaweed
from tests.waiting import free_ports

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Stand:
    docker: Docker
    folder: Path
    environ: dict[str, str]
    ports: tuple[int, ...]
    projects: tuple[str, str]

    @property
    def fleet(self) -> Fleet:
        return load_fleet(load_settings(self.environ, cwd=self.folder))

    def page(self, form: int) -> str:
        return httpx.get(f"http://127.0.0.1:{self.ports[form]}/page.txt", timeout=5).text.strip()

    def cli(self, *words: str) -> Any:
        done = CliRunner().invoke(cli, [*words, "--json"], env=self.environ, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)


@pytest.fixture
def stand(docker: Docker, data_image: str, seaweed: Seaweed, bucket: str, tmp_path: Path) -> Iterator[Stand]:
    ports = tuple(free_ports(3))
    projects = (f"near{ports[1]}", f"far{ports[2]}")
    folder = tmp_path / "deploy" / "pages"
    folder.mkdir(parents=True)
    for port, name in zip(ports[1:], projects, strict=True):
        service = {
            "image": IMAGE,
            "init": True,
            "command": ["httpd", "-f", "-p", "80", "-h", "/pages"],
            "ports": [f"127.0.0.1:{port}:80"],
            "volumes": ["pages:/pages"],
            "healthcheck": {"test": ["CMD", "wget", "-qO-", "http://127.0.0.1/page.txt"], "interval": "0.3s"},
        }
        project = {"services": {"web": service}, "volumes": {"pages": {}}}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(project))
    engine = {"host": f"tcp://127.0.0.1:{docker.tls_port}", "certificates": str(docker.certificates)}
    moves = {"image": data_image, "network": "host", "endpoint": seaweed.endpoint}
    serve = [
        "{python}",
        "-m",
        "http.server",
        "--bind",
        "127.0.0.1",
        "--directory",
        "{volume.pages}",
        "{port.http}",
    ]
    declared = {
        "stack": "pages",
        "description": "Pages in a folder.",
        "owners": ["team:platform"],
        "profile": "local",
        "target": {"kind": "process"},
        "secrets": {"a": "${S3A}", "s": "${S3S}"},
        "components": {
            "web": {
                "kind": "app",
                "command": serve,
                "ports": {"http": ports[0]},
                "health": {"path": "/page.txt", "within": "20s"},
                "volumes": {"pages": "/pages"},
            }
        },
        "volumes": {"pages": {"path": "{home}/pages"}},
        "backup": {"bucket": bucket, "endpoint": seaweed.endpoint, "access_key": "a", "secret_key": "s"},
        "profiles": {
            "local": {},
            "near": {
                "target": {"kind": "compose", "project": projects[0], "files": [f"{projects[0]}.yaml"]},
                "components": {"web": {"ports": {"http": ports[1]}}},
                "volumes": {"pages": {"path": "/pages"}},
            },
            "far": {
                "target": {
                    "kind": "compose", "project": projects[1], "files": [f"{projects[1]}.yaml"], "engine": engine,
                    "data": moves,
                },
                "components": {"web": {"ports": {"http": ports[2]}}},
                "volumes": {"pages": {"path": "/pages"}},
            },
        },
    }  # fmt: skip
    (folder / "stack.yaml").write_text(yaml.safe_dump(declared, sort_keys=False))
    home = tmp_path / "home"
    (home / "pages").mkdir(parents=True)
    (home / "pages" / "page.txt").write_text("kept")
    environ = {
        **docker.environ,
        "OPS_HOME": str(home),
        "OPS_STACKS_DIR": str(tmp_path / "deploy"),
        "S3A": seaweed.access_key,
        "S3S": seaweed.secret_key,
    }
    yield Stand(docker, folder, environ, ports, projects)
    Supervisord(home / "supervisor", environ).shutdown()
    for project in projects:
        docker.remove(project)
        docker.run("volume", "rm", "-f", f"{project}_ops-pipelines")


def test_from_processes_to_compose_and_on_to_another_engine(stand: Stand) -> None:
    deployments.deploy(stand.fleet.site("pages"), by="test")
    assert stand.page(0) == "kept"
    planned = stand.cli("migrate", "pages", "--to", "near")
    assert [step["verb"] for step in planned["steps"]] == [
        "create", "fetch", "create", "check", "switch", "keep",
    ]  # fmt: skip
    assert any("clients reach web at" in words for words in planned["warnings"])
    assert stand.docker.engine.containers(stand.projects[0]) == ()

    _fails_and_is_gone_on_with(stand)
    assert stand.page(1) == "kept"
    assert stand.page(0) == "kept", "the old one stays until it is told to go"
    site = stand.fleet.site("pages")
    assert (site.loaded.profile, site.stack.target.kind) == ("near", "compose")
    with pytest.raises(UsageError, match="runs on compose project"):
        migrations.plan(site, "near")
    stand.cli("migrate", "pages", "--finish", "--apply")
    with pytest.raises(httpx.TransportError):
        stand.page(0)
    assert stand.page(1) == "kept"

    stand.docker.run("exec", f"{stand.projects[0]}-web-1", "sh", "-c", "echo newer > /pages/page.txt")
    config = {"ops": {"migrate_stack": {"config": {"stack": "pages", "to": "far", "apply": True}}}}
    with dg.DagsterInstance.ephemeral() as instance:
        done = migrate_job.execute_in_process(config, instance=instance, resources={"fleet": stand.fleet})
    assert done.success
    assert stand.page(2) == "newer"
    assert stand.fleet.site("pages").loaded.profile == "far"
    finished = migrations.finish(stand.fleet.site("pages"), volumes=True)
    assert any(step.verb == "remove" for step in finished.steps)
    assert stand.docker.engine.volumes(stand.projects[0]) == {}
    assert stand.page(2) == "newer"


def _fails_and_is_gone_on_with(stand: Stand) -> None:
    """The new form's page is not where its healthcheck looks; the old one serves; mended, the migration goes on."""
    file = stand.folder / f"{stand.projects[0]}.yaml"
    right = file.read_text()
    file.write_text(right.replace("- /pages\n", "- /nowhere\n"))
    with pytest.raises(DeployFailed):
        migrations.migrate(stand.fleet.site("pages"), "near", by="test")
    assert stand.page(0) == "kept"
    assert stand.fleet.site("pages").loaded.profile == "local"
    begun = migrations.standing(stand.fleet.site("pages"))
    assert begun is not None
    assert begun.done == ("backup", "files")
    file.write_text(right)
    done = migrations.migrate(stand.fleet.site("pages"), "near", by="test")
    assert done.migration.snapshot == begun.snapshot, "the backup was not taken again"
