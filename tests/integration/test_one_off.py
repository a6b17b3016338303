"""Data of a Compose project moved by one-off containers with our own image: stored, lost, put back, killed, swept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from ops_pipelines.defs.assets import stack_assets
from ops_pipelines.errors import PartFailed, Refused
from ops_pipelines.policy.one_off import FENCE_LABEL, STACK_LABEL
from ops_pipelines.settings import load_settings
from ops_pipelines.wiring import compose_data, deployments, restores, snapshots
from ops_pipelines.wiring.compose_site import ComposeSite
from ops_pipelines.wiring.connect import lease
from ops_pipelines.wiring.site import Site, load_fleet
from tests.declaring import KEYS, backup_in, keys_of
from tests.servers.docker import IMAGE, Docker
from tests.servers.seaweed import Seaweed
from tests.waiting import free_port, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

Declare = Callable[..., Site]
PROGRAM = Path(sys.executable).with_name("ops-pipelines")


@pytest.fixture
def declare(
    docker: Docker, data_image: str, seaweed: Seaweed, bucket: str, tmp_path: Path
) -> Iterator[Declare]:
    """A service that keeps files in a volume; `moves` is how they are moved."""
    project = f"vol{free_port()}"
    folder = tmp_path / "deploy" / "vol"
    folder.mkdir(parents=True)
    service = {"image": IMAGE, "init": True, "command": ["sleep", "1000"], "volumes": ["data:/data"]}
    (folder / "compose.yaml").write_text(
        yaml.safe_dump({"services": {"app": service}, "volumes": {"data": {}}})
    )

    def made(engine: dict[str, Any] | None = None, **moves: Any) -> Site:
        declared = {
            "stack": "vol",
            "description": "Files in a volume.",
            "owners": ["team:platform"],
            "target": {
                "kind": "compose",
                "project": project,
                "data": {"image": data_image, "network": "host", **moves},
                **({"engine": engine} if engine else {}),
            },
            "secrets": KEYS,
            "components": {"app": {"kind": "app", "volumes": {"files": "/data"}}},
            "volumes": {"files": {"path": "/data"}},
            "backup": backup_in(seaweed, bucket),
        }  # fmt: skip
        (folder / "stack.yaml").write_text(yaml.safe_dump(declared))
        environ = {
            **docker.environ,
            "OPS_HOME": str(tmp_path / "home"),
            "OPS_STACKS_DIR": str(tmp_path / "deploy"),
            **keys_of(seaweed),
        }
        return load_fleet(load_settings(environ, cwd=folder)).site("vol")

    yield made
    for one in docker.run("ps", "-aq", "--filter", f"label={STACK_LABEL}=vol").split():
        docker.run("rm", "-f", one)
    docker.remove(project)
    docker.run("volume", "rm", "-f", f"{project}_ops-pipelines")


def inside(docker: Docker, site: Site, words: str) -> str:
    return docker.run("exec", f"{ComposeSite(site).target.project}-app-1", "sh", "-c", words)


FILL = "echo one > /data/one; mkdir /data/deep; head -c 300000 /dev/urandom > /data/deep/two; chown 1234:5678 /data/one"
LOOK = "cd /data && find . -type f | sort | xargs md5sum; stat -c '%u:%g %a' one"


def test_a_volume_is_stored_and_put_back_by_containers(declare: Declare, docker: Docker) -> None:
    site = declare(by="container")
    assert compose_data.where(site).container
    deployments.deploy(site, by="test")
    inside(docker, site, FILL)
    before = inside(docker, site, LOOK)
    taken = snapshots.backup(site, by="test")
    [part] = [one for one in taken.parts if one.kind == "volume"]
    assert {entry.path for entry in part.files} == {"one", "deep/two"}
    assert taken.uploaded > 300_000
    assert snapshots.backup(site, by="test").uploaded < 100_000, "nothing is sent twice"
    in_process = snapshots.backup(declare(by="process"), by="test").part("volume/files")
    assert in_process is not None
    assert in_process.files == part.files, "whoever moves it, it is the same"

    site = declare(by="container")
    inside(docker, site, "rm -rf /data/deep; echo other > /data/one")
    plan = restores.plan_restore(site, taken.snapshot, parts=["volume/files"])
    assert "switch" in {step.verb for step in plan.steps}
    assert [step.detail for step in plan.steps if step.subject == "data"] == [
        "moved by a container: `target.data.by` says so"
    ]
    result = restores.restore(site, taken.snapshot, parts=["volume/files"], by="test")
    assert result.switched
    until(lambda: inside(docker, site, "echo up") == "up", what="the service to be back", seconds=30)
    assert inside(docker, site, LOOK) == before
    left = docker.run("ps", "-aq", "--filter", f"label={STACK_LABEL}=vol")
    assert left == "", "every container was removed"


def test_on_an_engine_of_another_machine(declare: Declare, docker: Docker, seaweed: Seaweed) -> None:
    engine = {"host": f"tcp://127.0.0.1:{docker.tls_port}", "certificates": str(docker.certificates)}
    site = declare(engine)
    assert compose_data.where(site).why.startswith("the engine is at tcp://")
    deployments.deploy(site, by="test")
    inside(docker, site, FILL)
    with pytest.raises(PartFailed, match=r"target\.data\.endpoint"):
        snapshots.backup(site, by="test")
    taken = snapshots.backup(declare(engine, endpoint=seaweed.endpoint), by="test")
    part = taken.part("volume/files")
    assert part is not None
    assert len(part.files) == 2


def test_refusals_and_faults_have_words(declare: Declare, docker: Docker) -> None:
    site = declare(by="container")
    deployments.deploy(site, by="test")
    with pytest.raises(PartFailed, match="is empty"):
        snapshots.backup(site, by="test")
    with pytest.raises((Refused, PartFailed), match=r"deploy/platform/Dockerfile|not on the engine"):
        snapshots.backup(declare(by="container", image="ops-test/nobody:1"), by="test")


def test_no_secret_is_in_what_the_engine_shows_of_it(
    declare: Declare, docker: Docker, seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = declare(by="container")
    deployments.deploy(site, by="test")
    inside(docker, site, FILL)
    from ops_pipelines.adapters import docker_oneoff

    seen: list[Any] = []
    lines: list[str] = []
    real = docker_oneoff.run

    def watched(engine: Any, spec: Any, heard: Any) -> None:
        seen.append(spec)
        real(engine, spec, lambda line: (lines.append(line), heard(line))[1])

    monkeypatch.setattr(docker_oneoff, "run", watched)
    snapshots.backup(site, by="test")
    [spec] = seen
    shown = f"{spec} {spec.command} {spec.labels} {spec.name} {' '.join(lines)}"
    assert seaweed.secret_key not in shown
    assert seaweed.secret_key in spec.environ.values(), "handed over by the environment"
    assert [one.read_only for one in spec.mounts if one.target.startswith("/data")] == [True]


def test_killed_and_swept(declare: Declare, docker: Docker) -> None:
    site = declare(by="container")
    deployments.deploy(site, by="test")
    inside(docker, site, f"{FILL}; head -c 200000000 /dev/urandom > /data/large")

    def ours() -> list[str]:
        return docker.run("ps", "-q", "--filter", f"label={STACK_LABEL}=vol").split()

    running = subprocess.Popen(
        [PROGRAM, "backup", "vol"],
        env=dict(site.settings.environ),
        cwd=site.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until(lambda: bool(ours()), what="the container", seconds=60)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    # As one that goes on long after whoever started it: the same labels, and no end.
    held = docker.run("inspect", "-f", f'{{{{index .Config.Labels "{FENCE_LABEL}"}}}}', *ours()[:1])
    labels = ["--label", f"{STACK_LABEL}=vol", "--label", f"{FENCE_LABEL}={held}"]
    old = docker.run("run", "-d", "--network", "none", *labels, IMAGE, "sleep", "1000")
    until(lambda: _free(site), what="the lease of the killed backup to expire", seconds=90)
    inside(docker, site, "rm /data/large")
    assert snapshots.backup(site, by="test").part("volume/files") is not None
    assert ours() == [], f"{old[:12]} was swept"


def test_ctrl_c_removes_the_container(declare: Declare, docker: Docker) -> None:
    site = declare(by="container")
    deployments.deploy(site, by="test")
    inside(docker, site, "head -c 400000000 /dev/zero > /data/large")
    running = subprocess.Popen(
        [PROGRAM, "backup", "vol"], env=dict(site.settings.environ), cwd=site.folder, stderr=subprocess.PIPE
    )
    label = f"label={STACK_LABEL}=vol"
    until(lambda: bool(docker.run("ps", "-q", "--filter", label)), what="the container", seconds=60)
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=60)
    assert running.returncode == 130
    assert docker.run("ps", "-aq", "--filter", label) == ""


def test_a_dagster_run_hears_the_container_by_pipes(declare: Declare, docker: Docker) -> None:
    site = declare(by="container")
    deployments.deploy(site, by="test")
    inside(docker, site, FILL)
    [asset] = [one for one in stack_assets(site) if one.key.path[-1] == "snapshot"]
    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize([asset], instance=instance)
        assert done.success
        said = [one.message for one in instance.all_logs(done.run_id)]
    assert any("part.begins" in words and "verb=store" in words for words in said)
    assert any("external process" in words.lower() for words in said), "Pipes opened and closed"


def _free(site: Site) -> bool:
    from ops_pipelines.errors import LeaseHeld

    try:
        with lease(site, "test"):
            return True
    except LeaseHeld:
        return False
