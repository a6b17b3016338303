"""What goes wrong around a deploy on a Docker Engine: it ends in the old state or the new, and says why."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ops_pipelines.errors import DeployFailed, Refused
from ops_pipelines.wiring import deployments, revisions
from tests.integration.compose_web import SERVE, Stand, web_stand
from tests.servers.docker import IMAGE, Docker, OwnDocker, own_docker
from tests.servers.docker_door import Door
from tests.servers.seaweed import Seaweed
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

_DISK = 48  # MiB: two of the engine's images, and little more


@pytest.fixture
def stand(docker: Docker, seaweed: Seaweed, bucket: str, tmp_path: Path) -> Iterator[Stand]:
    with web_stand(docker, seaweed, bucket, tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnDocker]:
    """An engine of its own, which may be killed, on a disk that is soon full."""
    disk = tmp_path_factory.mktemp("disk")
    if shutil.which("mount") is None:
        pytest.skip("no program mounts a small disk here")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_DISK}m", "tmpfs", disk], check=True)
    try:
        with own_docker(data=disk) as own:
            yield own
    finally:
        subprocess.run(["umount", "--lazy", disk], check=False)


def test_the_engine_dies_in_the_midst_and_comes_back(
    small: OwnDocker, seaweed: Seaweed, bucket: str, tmp_path: Path
) -> None:
    door = Door(tmp_path / "door.sock", small.at.socket)
    died = threading.Event()

    def die() -> None:
        small.kill()
        died.set()
        small.start()

    with web_stand(small.at, seaweed, bucket, tmp_path, socket=door.address) as stand:
        stand.deploy()
        (stand.folder / "conf.txt").write_text("two")
        door.arm(3, die, after=False)
        with pytest.raises(DeployFailed) as caught:
            stand.deploy()
        assert died.is_set()
        words = str(caught.value)
        assert "the earlier revision was put back and is healthy" in words
        assert stand.page == "one"
        assert "Docker" in words
        assert stand.deploy().revision == 2
        assert stand.page == "two"
    door.close()


def test_the_disk_is_full(small: OwnDocker, seaweed: Seaweed, bucket: str, tmp_path: Path) -> None:
    with web_stand(small.at, seaweed, bucket, tmp_path) as stand:
        stand.deploy()
        fill = f"docker exec {stand.project}-web-1 dd if=/dev/zero of=/data/full bs=1M".split()
        subprocess.run(fill, env=dict(small.at.environ), capture_output=True, check=False)
        (stand.folder / "conf.txt").write_text("two")
        stand.services["back"]["command"] = ["sh", "-c", f"dd if=/dev/zero of=/big bs=1M count=8 && {SERVE}"]
        with pytest.raises(DeployFailed) as caught:
            stand.deploy()
        assert "no space left" in caught.value.message.lower()
        assert "free space on the disk of the Docker Engine" in caught.value.remedy
        small.at.run("exec", f"{stand.project}-web-1", "rm", "/data/full")
        stand.services["back"]["command"] = ["sh", "-c", SERVE.replace("/conf.txt", "/etc/hostname")]
        stand.deploy()
        assert stand.page == "two"


def test_a_port_that_is_taken_after_preflight_looked(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops_pipelines.wiring.compose_preflight._ports", lambda *_: ())
    web = stand.services.pop("web")
    stand.deploy()
    with stand.squat(stand.port):
        stand.services["web"] = web
        with pytest.raises(DeployFailed) as caught:
            stand.deploy()
    assert "address already in use" in caught.value.message
    assert "publish another one of the service" in caught.value.remedy
    assert sorted(stand.started) == [f"{stand.project}-back-1"]
    stand.deploy()
    assert stand.page == "one"


def test_a_volume_of_which_somebody_else_has_a_part(stand: Stand) -> None:
    stand.deploy()
    site = stand.write()
    other = f"other{stand.port}"
    stand.docker.run(
        "run",
        "-d",
        "--network=none",
        "--name",
        other,
        "-v",
        f"{stand.project}_data:/d",
        IMAGE,
        "sleep",
        "300",
    )
    try:
        before = stand.started
        with pytest.raises(Refused, match=f"container {other} uses {stand.project}_data") as caught:
            deployments.down(site, volumes=True)
        assert f"docker stop {other}" in caught.value.remedy
        assert stand.started == before
    finally:
        stand.docker.run("rm", "-f", other)
    deployments.down(site, volumes=True)
    assert stand.docker.engine.volumes(stand.project) == {}


def test_two_deploys_at_once_are_one_after_the_other(stand: Stand) -> None:
    stand.deploy()
    (stand.folder / "conf.txt").write_text("two")
    site = stand.write()
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(deployments.deploy, site, by=f"test {number}") for number in range(2)]
        done = [one.result(120) for one in both]
    assert sorted(one.recorded for one in done) == [False, True]
    assert {one.revision for one in done} == {2}
    assert stand.page == "two"
    assert len(revisions.rows(site)) == 2
    until(lambda: deployments.plan(site).empty, what="nothing to be left to do", seconds=10)
