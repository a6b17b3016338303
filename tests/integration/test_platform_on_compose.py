"""deploy/platform/compose.yaml as it is, on a real engine: Dagster's pages answer, with the code location loaded."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from ops_pipelines.up.dagster_api import Dagster
from tests.servers.docker import Docker
from tests.servers.image import ROOT
from tests.servers.images import LoadImages
from tests.waiting import free_ports, until

pytestmark = [pytest.mark.slow, pytest.mark.whole, pytest.mark.timeout(1800)]

_FILE = ROOT / "deploy/platform/compose.yaml"
_LOCATIONS = """
{ workspaceOrError { ... on Workspace { locationEntries { name locationOrLoadError { __typename
  ... on PythonError { message } } } } }
  assetNodes { groupName }
  instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }
"""
_STACK = {
    "stack": "page",
    "description": "One page.",
    "owners": ["team:platform"],
    "target": {"kind": "compose", "project": "page"},
    "components": {"page": {"kind": "app"}},
}


@dataclass(frozen=True)
class Up:
    """The platform, and how it is reached."""

    docker: Docker
    url: str
    project: str

    def ask(self, query: str) -> Any:
        """An answer of Dagster's pages, as they ask it themselves."""
        return Dagster(self.url).ask(query)

    def inside(self, service: str, *words: str) -> str:
        """What a command in a container says."""
        return self.docker.run("exec", f"{self.project}-{service}-1", *words)


@pytest.fixture(scope="module")
def up(
    docker: Docker, platform_image: str, stack_images: LoadImages, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Up]:
    declared = yaml.safe_load(_FILE.read_text())
    stack_images([declared["services"]["postgres"]["image"].removeprefix("docker.io/library/")])
    stacks = tmp_path_factory.mktemp("stacks")
    (stacks / "page").mkdir()
    (stacks / "page" / "stack.yaml").write_text(yaml.safe_dump(_STACK))
    (stacks / "page" / "compose.yaml").write_text(json.dumps({"services": {"page": {"image": "page:1"}}}))
    for path in (stacks, *stacks.rglob("*")):  # the container's user is another one
        path.chmod(0o755 if path.is_dir() else 0o644)
    # The official image gives up root by itself, the one of this machine's Postgres does not.
    over = tmp_path_factory.mktemp("over") / "compose.test.yaml"
    over.write_text(yaml.safe_dump({"services": {"postgres": {"user": "70:70"}}}))
    [port] = free_ports(1)
    project = f"platform{port}"
    environ = {
        **docker.environ,
        "OPS_PG_PASSWORD": "a-password-of-the-test",
        "OPS_PLATFORM_IMAGE": platform_image,
        "OPS_PAGES_PORT": str(port),
        "OPS_STACKS": str(stacks),
        "DOCKER_SOCKET": str(docker.socket),
        "DOCKER_GID": str(os.stat(docker.socket).st_gid),
    }

    def compose(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["docker", "compose", "--project-name", project, "-f", str(_FILE), "-f", str(over), *words],
            env=environ, capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip

    try:
        done = compose("up", "--no-build", "--wait", "--detach")
        assert done.returncode == 0, done.stdout + done.stderr + compose("logs", "--tail", "40").stdout
        yield Up(docker, f"http://127.0.0.1:{port}", project)
    finally:
        compose("down", "--volumes", "--timeout", "5")


def test_pages_code_location_and_daemons(up: Up) -> None:
    told = up.ask(_LOCATIONS)
    [location] = told["workspaceOrError"]["locationEntries"]
    assert location["locationOrLoadError"]["__typename"] == "RepositoryLocation", location
    assert {one["groupName"] for one in told["assetNodes"]} == {"page"}

    def healthy() -> bool:
        daemons = up.ask(_LOCATIONS)["instance"]["daemonHealth"]["allDaemonStatuses"]
        return all(one["healthy"] for one in daemons if one["required"])

    until(healthy, what="daemons that are well", seconds=180)


def test_the_code_location_alone_has_the_engine(up: Up) -> None:
    assert "page" in up.inside("code", "ops-pipelines", "stacks")
    assert up.inside("code", "docker", "version", "--format", "{{.Server.Version}}")
    assert up.inside("code", "docker", "compose", "version", "--short")
    for service in ("daemon", "webserver"):
        mounted = up.docker.run("inspect", "-f", "{{json .Mounts}}", f"{up.project}-{service}-1")
        assert "docker.sock" not in mounted
    for service in ("code", "daemon", "webserver"):
        assert up.inside(service, "id", "-u") == "10001"


def test_a_killed_code_location_comes_back(up: Up) -> None:
    up.docker.run("kill", f"{up.project}-code-1")
    up.docker.run("start", f"{up.project}-code-1")

    def loaded() -> bool:
        [location] = up.ask(_LOCATIONS)["workspaceOrError"]["locationEntries"]
        return bool(location["locationOrLoadError"]["__typename"] == "RepositoryLocation")

    until(loaded, what="the code location", seconds=180)
