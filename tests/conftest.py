"""Fixtures of real servers, one module each in tests/servers."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import Scheduling

from tests.sharing import OneScope, arrange

# A shell that starts the tests in the background ignores SIGINT for them, and so would every program they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no fault of what is tested: no example has a time limit.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

_SERVERS = Path(__file__).parent / "servers"

pytest_plugins = [f"tests.servers.{path.stem}" for path in sorted(_SERVERS.glob("[a-z]*.py"))]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The order of the tests."""
    arrange(items)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling | None:
    """By scope, where tests run in several processes. The groups of pytest-xdist 3.8 have no effect in pytest 9.2."""
    return OneScope(config, log) if config.getvalue("dist") == "loadscope" else None


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """No test hears its log through what another one set up: commands and one-off containers set it for a process."""
    yield
    structlog.reset_defaults()
