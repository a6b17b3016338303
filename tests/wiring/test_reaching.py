"""How a container is reached from here; each row flips one fact."""

from __future__ import annotations

import pytest

from ops_pipelines.adapters._docker_client import Address
from ops_pipelines.adapters.docker_engine import Reach
from ops_pipelines.wiring.reaching import _container

OPEN = Reach("p-a-1", "a", "172.20.0.2", {8000: 80}, frozenset({8000}))
LOOPBACK = Reach("p-a-1", "a", "172.20.0.2", {8000: 80})
NOT_PUBLISHED = Reach("p-a-1", "a", "172.20.0.2", {})


@pytest.mark.parametrize(
    ("seen", "machine", "address", "note"),
    [
        (OPEN, None, "http://127.0.0.1:8000", ""),
        (LOOPBACK, None, "http://127.0.0.1:8000", ""),
        (NOT_PUBLISHED, None, "http://172.20.0.2:80", ""),
        (OPEN, "gpu.lan", "http://gpu.lan:8000", ""),
        (LOOPBACK, "gpu.lan", "", "published for that machine alone"),
        (NOT_PUBLISHED, "gpu.lan", "", "only reached there"),
    ],
)
def test_reached(seen: Reach, machine: str | None, address: str, note: str) -> None:
    place = _container("a", seen, 8000, 80, machine)
    assert place.address == address
    assert note in place.note


@pytest.mark.parametrize(
    ("host", "machine"),
    [
        (None, None),
        ("unix:///var/run/docker.sock", None),
        ("ssh://me@gpu.lan:2222", "gpu.lan"),
        ("tcp://10.1.2.3:2376", "10.1.2.3"),
    ],
)
def test_machine_of_an_engine(host: str | None, machine: str | None) -> None:
    assert Address(host).machine == machine
