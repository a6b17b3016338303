"""Waiting for a condition, and ports nobody uses."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable

from tests.sharing import share

_given: set[int] = set()


def until(
    condition: Callable[[], object],
    *,
    what: str = "it to come true",
    seconds: float = 60,
    pause: float = 0.05,
) -> None:
    """Return as soon as `condition()` is true. Fails, naming `what`, after `seconds`.

    `pause`: seconds between two looks, more where a look costs the asked one much."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:g} s for {what}")
        time.sleep(pause)


def free_port() -> int:
    """A TCP port on 127.0.0.1 that was free a moment ago."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """So many free TCP ports of 127.0.0.1 in a row, given to no other test of this session.

    They lie below the range that the kernel hands out: else the end of any connection could take one before
    the server of the test does.
    """
    low, high = share(22_000, 32_000)
    for _ in range(1000):
        first = random.randrange(low, high - count)
        ports = list(range(first, first + count))
        if _given.isdisjoint(ports) and all(is_free(port) for port in ports):
            _given.update(ports)
            return ports
    raise RuntimeError("no free ports")


def is_free(port: int) -> bool:
    """Whether nothing listens on a TCP port of 127.0.0.1 just now."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
