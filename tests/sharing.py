"""Several test processes beside one another (pytest-xdist): who runs what, and which ports are whose.

A file's tests stay in one process, in their order: fixtures of the module and of the session are then made once.
Tests that share one expensive server stay together too, whatever file they are in.
"""

from __future__ import annotations

import os

import pytest
from xdist.scheduler import LoadScopeScheduling

# Made once, they serve all of a session: the page of Dagster, the built image of this project, Milvus itself.
_TOGETHER = {
    "platform": ("tests/ui/", "tests/integration/test_dagster_platform.py"),
    "data_image": ("tests/integration/test_one_off.py", "tests/integration/test_migrate.py"),
    "real_milvus": ("tests/engines/test_collection_servers.py", "tests/engines/test_bulk_import.py"),
}
_APART = ("tests/deploy/test_started.py",)
# The longest first: what is begun last would otherwise run alone at the end.
_LONG = (
    *_APART, "tests/life/", "test_bluegreen", "data_image", "test_compose", "platform", "real_milvus", "tests/up/",
    "tests/cluster/",
    "test_up", "killed", "faults", "histories", "database", "collection", "tests/deploy/", "tests/cli/",
)  # fmt: skip


class OneScope(LoadScopeScheduling):
    """The scheduler: what has one scope runs in one process, in its order."""

    def _split_scope(self, nodeid: str) -> str:
        return scope(nodeid)


def scope(nodeid: str) -> str:
    """What a test must share a process with: its file, the users of one server, or nothing but itself."""
    path = nodeid.split("::", maxsplit=1)[0]
    if path in _APART:
        return nodeid
    return next((name for name, starts in _TOGETHER.items() if path.startswith(starts)), path)


def rank(name: str) -> int:
    """Place of a scope in the order: small runs early."""
    return next((place for place, word in enumerate(_LONG) if word in name), len(_LONG))


def arrange(items: list[pytest.Item]) -> None:
    """The long scopes first, each test else in the order it had. Raises UsageError for a test that uses a server
    that others are kept together for, and is not among them."""
    for item in items:
        for server in _TOGETHER.keys() & set(getattr(item, "fixturenames", ())):
            if scope(item.nodeid) != server:
                raise pytest.UsageError(f"{item.nodeid} uses {server}: name its file in tests/sharing.py")
    items.sort(key=lambda item: rank(scope(item.nodeid)))


def share(first: int, last: int) -> tuple[int, int]:
    """This process's share of a range of ports: the whole range where tests run in one process."""
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    mine = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    width = (last - first) // count
    return first + mine * width, first + (mine + 1) * width
