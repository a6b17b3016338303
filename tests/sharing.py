"""Several test processes beside one another (pytest-xdist): who runs what, and which ports are whose.

A file's tests stay in one process, in their order: fixtures of the module and of the session are then made once.
Tests that share one expensive server stay together too, whatever file they are in.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

# Two engines would write one set of packet filter rules; a platform of Dagster takes ten seconds to start.
# Milvus eight seconds.
_ONE_PROCESS = ("docker", "platform", "real_milvus")
# The longest first: what is begun last would otherwise run alone at the end.
_LONG = ("docker", "platform", "real_milvus", "tests/ui/", "killed", "faults", "database", "collection")


def group(path: str, fixtures: Sequence[str]) -> str:
    """The process group of a test: its expensive server, or its file."""
    return next((name for name in _ONE_PROCESS if name in fixtures), path)


def rank(name: str) -> int:
    """Place in the order: small runs early."""
    return next((place for place, word in enumerate(_LONG) if word in name), len(_LONG))


def arrange(items: list[pytest.Item]) -> None:
    """Mark each test with its group, the long groups first, each in the order it had."""
    groups = {}
    for item in items:
        path = item.nodeid.split("::")[0]
        groups[item] = group(path, getattr(item, "fixturenames", ()))
        item.add_marker(pytest.mark.xdist_group(groups[item]))
    items.sort(key=lambda item: rank(groups[item]))


def share(first: int, last: int) -> tuple[int, int]:
    """This process's share of a range of ports: the whole range where tests run in one process."""
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    mine = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    width = (last - first) // count
    return first + mine * width, first + (mine + 1) * width
