"""A Kubernetes cluster (tests/cluster): `cluster` for all of a run, `namespace` and `real_namespace` for one test."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.cluster.plane import ControlPlane, kwok_flags
from tests.cluster.programs import PLANE, control_plane
from tests.cluster.session import Session
from tests.cluster.use import Cluster, Namespace
from tests.parts import require
from tests.servers._child import die_with_parent


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster of OPS_TEST_KUBECONFIG, or else one that all processes of this run share."""
    with ExitStack() as ending:
        if given := os.environ.get("OPS_TEST_KUBECONFIG"):
            found = Cluster(*_given(given), tmp_path_factory.mktemp("cluster"))
            ending.enter_context(_kwok(found))
        else:
            session = Session()
            ending.callback(session.end)
            folder = session.folder / "tests"
            folder.mkdir(exist_ok=True)
            found = Cluster(session.kubeconfig, "tests", folder, session)
        yield found


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[Namespace]:
    """A namespace whose pods are put on nodes of its own (`gpu_node`), which only seem to run them."""
    with cluster.namespace("own") as made:
        yield made


@pytest.fixture
def real_namespace(cluster: Cluster) -> Iterator[Namespace]:
    """A namespace whose pods run, on the real node."""
    assert cluster.node is not None  # starts it
    with cluster.namespace("real") as made:
        yield made


@contextmanager
def own_cluster(folder: Path) -> Iterator[tuple[ControlPlane, Cluster]]:
    """A control plane that a test may stop, slow or kill parts of (`stop_one`, `signal_one`, `start_one`)."""
    for name in PLANE:
        require(name)
    plane = ControlPlane(control_plane())
    try:
        plane.start()
        yield plane, Cluster(plane.kubeconfig, "tests", folder)
    finally:
        plane.end()


def _given(path: str) -> tuple[Path, str]:
    """A kubeconfig and its context, which the tests name from then on."""
    view = subprocess.run(
        [require("kubectl").path, f"--kubeconfig={path}", "config", "view", "-o", "json"],
        capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    context = json.loads(view.stdout).get("current-context")
    if not context:
        pytest.fail(f"OPS_TEST_KUBECONFIG: {path} names no current context", pytrace=False)
    return Path(path).resolve(), context


@contextmanager
def _kwok(cluster: Cluster) -> Iterator[None]:
    """kwok of ours on a cluster of somebody else's: it looks after the nodes that tests make there, and no others."""
    words = kwok_flags(cluster.kubeconfig, "10.250.0.0/16")
    with (cluster.folder / "kwok.log").open("wb") as log:
        process = subprocess.Popen(
            [require("kwok").path, *words],
            stdout=log,
            stderr=log,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - it takes no lock
        )
        try:
            yield
        finally:
            process.kill()
            process.wait()
