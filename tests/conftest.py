"""Fixtures of real servers, one module each in tests/servers."""

from __future__ import annotations

from pathlib import Path

_SERVERS = Path(__file__).parent / "servers"

pytest_plugins = [f"tests.servers.{path.stem}" for path in sorted(_SERVERS.glob("[a-z]*.py"))]
