"""A deploy on a Docker Engine that is killed, with all that it started, at each change that it asks the engine for."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.wiring import deployments
from ops_pipelines.wiring.connect import layout
from tests.integration.compose_web import Stand, web_stand
from tests.servers.docker import Docker
from tests.servers.docker_door import Door
from tests.servers.seaweed import Seaweed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

_PRELOAD = ["boto3", "docker", "ops_pipelines.wiring.deployments", "tests.integration.compose_web"]
_CONTEXT = multiprocessing.get_context("forkserver")


@pytest.fixture
def door(docker: Docker, tmp_path: Path) -> Iterator[Door]:
    made = Door(tmp_path / "door.sock", docker.socket)
    yield made
    made.close()


@pytest.fixture
def stand(docker: Docker, seaweed: Seaweed, bucket: str, tmp_path: Path, door: Door) -> Iterator[Stand]:
    with web_stand(docker, seaweed, bucket, tmp_path, socket=door.address) as made:
        yield made


def _deploy(stand: Stand) -> None:
    deployments.deploy(stand.write(), by="test")


def deploy_killed(stand: Stand, door: Door, at: int, *, after: bool) -> bool:
    """Deploy in a process of its own that dies, with Compose, at a change; whether it did."""
    _CONTEXT.set_forkserver_preload(_PRELOAD)
    process = _CONTEXT.Process(target=_deploy, args=(stand,))

    def end() -> None:
        assert process.pid is not None
        parent = psutil.Process(process.pid)
        parent.suspend()  # so that it starts nothing and puts nothing back meanwhile
        for child in parent.children(recursive=True):
            child.kill()
        parent.kill()

    door.arm(at, end, after=after)
    process.start()
    process.join(60)
    door.arm(0, end, after=False)
    assert process.exitcode in (0, -9)
    return process.exitcode == -9


def let_go(stand: Stand, store: S3Store) -> None:
    """End the lease of one that was killed, as its time would."""
    store.delete([layout(stand.write()).lease("web")])


def test_killed_at_each_change_then_again(stand: Stand, door: Door, seaweed: Seaweed, bucket: str) -> None:
    store = seaweed.store(bucket)
    stand.deploy()
    for at in range(1, 60):
        wanted = f"page {at}"
        (stand.folder / "conf.txt").write_text(wanted)
        stand.services["back"]["environment"] = {"AT": str(at)}
        killed = deploy_killed(stand, door, at, after=at % 2 == 0)
        if not killed:
            assert stand.page == wanted
            break
        let_go(stand, store)
        stand.deploy()
        assert stand.page == wanted
        assert sorted(stand.started) == [f"{stand.project}-back-1", f"{stand.project}-web-1"], at
        assert deployments.plan(stand.write()).empty
    else:
        pytest.fail("it never got to its end")
    assert at > 5, "it was never killed"
