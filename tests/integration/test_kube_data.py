"""Data of a stack on a cluster, in volume claims: stored by Jobs on the real node, lost, put back, killed, swept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ops_pipelines.policy.one_off import STACK_LABEL
from ops_pipelines.wiring import restores, snapshots
from tests.cluster import own_image
from tests.cluster.door import door_to
from tests.cluster.use import Cluster, Namespace
from tests.integration.kube_web import Stand, make_stand
from tests.parts import require
from tests.servers.seaweed import Seaweed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FILL = """
echo one > /data/one; mkdir -p /data/deep; head -c 300000 /dev/urandom > /data/deep/two; chown 1234:5678 /data/one
chmod 0640 /data/one; ln -s deep/two /data/link
"""
LOOK = (
    "cd /data && find . -type f -o -type l | grep -v before- | sort | xargs md5sum; stat -c '%u:%g %a' one ."
)


@pytest.fixture(scope="module")
def image(cluster: Cluster) -> str:
    return own_image.load(cluster)


@pytest.fixture
def endpoint(cluster: Cluster, seaweed: Seaweed) -> Iterator[str]:
    assert cluster.node is not None
    with door_to(cluster, seaweed.endpoint) as url:
        yield url


@pytest.fixture
def stand(
    real_namespace: Namespace, image: str, endpoint: str, seaweed: Seaweed, bucket: str, tmp_path: Path
) -> Stand:
    """A database's files are in the claim of a StatefulSet, all of it."""
    made = make_stand(
        tmp_path,
        kubeconfig=real_namespace.cluster.kubeconfig,
        namespace=real_namespace.name,
        seaweed=seaweed,
        bucket=bucket,
        helm=require("helm").path,
    )
    made.target["data"] = {"image": image, "endpoint": endpoint}
    made.stack["components"]["db"]["volumes"] = {"files": "/data"}
    made.stack["volumes"] = {"files": {"path": "/data"}}
    return made


def test_a_volume_is_stored_lost_with_its_namespace_and_put_back(
    stand: Stand, real_namespace: Namespace
) -> None:
    stand.deploy()
    inside(real_namespace, FILL)
    before = inside(real_namespace, LOOK)
    taken = snapshots.backup(stand.write(), by="test")
    [part] = [one for one in taken.parts if one.kind == "volume"]
    assert {entry.path for entry in part.files} == {"one", "deep/two", "link"}
    assert left(real_namespace) == []

    inside(real_namespace, "rm -rf /data/deep; echo other > /data/one; echo new > /data/new")
    assert restores.restore(stand.write(), taken.snapshot, parts=["volume/files"], by="test").switched
    assert inside(real_namespace, LOOK) == before
    assert inside(real_namespace, "cat /data/.before-*/one") == "other", "what was live is kept"
    second = snapshots.backup(stand.write(), by="test")
    assert second.uploaded < 100_000, "nothing is sent twice"
    again = second.part("volume/files")
    assert again is not None
    assert again.files == part.files, "what a restore kept is not the volume's"


def inside(space: Namespace, words: str) -> str:
    space.wait("condition=Ready", "pod/shop-db-0")
    return space.kubectl("exec", "shop-db-0", "--", "sh", "-c", words)


def left(space: Namespace) -> list[str]:
    found = space.kubectl("get", "jobs,secrets", "-l", f"{STACK_LABEL}=web", "-o", "name")
    return found.split()
