"""One holder of the home folder at a time."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from ops_pipelines.errors import OpsError


class HomeHeld(OpsError):
    """Another `ops-pipelines up` runs on this home folder."""


@contextmanager
def hold_home(home: Path) -> Iterator[None]:
    """Hold the home folder for the time of the `with`. Raises HomeHeld that says who has it.

    The lock is the kernel's (flock): it is gone with its holder, however that ends.
    """
    home.mkdir(parents=True, exist_ok=True)
    handle = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _held(home, os.read(handle, 4096)) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps({"pid": os.getpid(), "since": _now()}).encode(), 0)
        yield
    finally:
        os.close(handle)


def _held(home: Path, content: bytes) -> HomeHeld:
    try:
        holder = json.loads(content)
        who = f"process {holder['pid']} since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        who = "a process that has not said who it is yet"
    return HomeHeld(
        f"the folder {home} is held by {who}",
        remedy="use the one that runs, stop it (Ctrl-C in its terminal), or set OPS_HOME to another folder",
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
