"""A backup of a stack of which a Compose profile is switched off: what it never had is not asked for, what is left of
it is backed up."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ops_pipelines.settings import load_settings
from ops_pipelines.wiring import compose_data, deployments, snapshots
from ops_pipelines.wiring.compose_site import ComposeSite
from ops_pipelines.wiring.site import Site, load_fleet
from tests.declaring import KEYS, backup_in, keys_of
from tests.servers.docker import IMAGE, Docker
from tests.servers.seaweed import Seaweed
from tests.waiting import free_port
from tests.whole import removed_after

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def site(docker: Docker, seaweed: Seaweed, bucket: str, tmp_path: Path) -> Site:
    """`app` always runs; `web` only where its profile is switched on."""
    folder = tmp_path / "deploy" / "two"
    folder.mkdir(parents=True)
    service = {"image": IMAGE, "init": True, "command": ["sh", "-c", "echo kept > /data/one; sleep 1000"]}
    services = {
        "app": {**service, "volumes": ["app:/data"]},
        "web": {**service, "volumes": ["web:/data"], "profiles": ["web"]},
    }
    project = {"services": services, "volumes": {"app": {}, "web": {}}}
    (folder / "compose.yaml").write_text(yaml.safe_dump(project))
    backup = backup_in(seaweed, bucket)
    declared = {
        "stack": "two",
        "description": "Two services.",
        "owners": ["team:platform"],
        "target": {"kind": "compose", "project": f"two{free_port()}"},
        "secrets": KEYS,
        "components": {
            "app": {"kind": "app", "volumes": {"app": "/data"}},
            "web": {"kind": "app", "volumes": {"web": "/data"}, "compose_profile": "web"},
        },
        "volumes": {"app": {"path": "/data"}, "web": {"path": "/data"}},
        "backup": backup,
    }
    (folder / "stack.yaml").write_text(yaml.safe_dump(declared))
    environ = {
        **docker.environ,
        "OPS_HOME": str(tmp_path / "home"),
        "OPS_STACKS_DIR": str(tmp_path / "deploy"),
        **keys_of(seaweed),
    }
    return load_fleet(load_settings(environ, cwd=folder)).site("two")


def volumes_of(site: Site) -> set[str]:
    return {part.key for part in snapshots.backup(site, by="test").parts if part.kind == "volume"}


def test_what_is_switched_off(site: Site, docker: Docker) -> None:
    project = ComposeSite(site).target.project
    with removed_after(docker, project):
        compose_data.make_volumes(site)
        assert set(docker.engine.volumes(project)) == {"app"}, "no volume of what is switched off"
        deployments.deploy(site, by="test")
        assert volumes_of(site) == {"volume/app"}

        docker.engine.make_volume(f"{project}_web", project, "web")
        left = docker.run("volume", "inspect", "--format", "{{.Mountpoint}}", f"{project}_web")
        Path(left, "old").write_text("of the days when it was on")
        assert volumes_of(site) == {"volume/app", "volume/web"}, "what is left of it is data"
