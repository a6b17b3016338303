"""Fixtures of real servers, one module each in tests/servers."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import settings

from tests.sharing import arrange

# A shell that starts the tests in the background ignores SIGINT for them, and so would every program they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no fault of what is tested: no example has a time limit.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

_SERVERS = Path(__file__).parent / "servers"

pytest_plugins = [f"tests.servers.{path.stem}" for path in sorted(_SERVERS.glob("[a-z]*.py"))]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Before the plugin of several processes reads the groups."""
    arrange(items)
