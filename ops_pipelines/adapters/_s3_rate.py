"""A limit on bytes a second, shared by all threads of a store."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

_BURST = 0.25
"""Seconds' worth of bytes that may go at once, so that a short pause is made up for."""


class Rate:
    """Lets so many bytes pass in a second; None lets all pass."""

    def __init__(
        self,
        limit: int | None,
        *,
        seconds: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._limit = limit
        self._seconds = seconds
        self._sleep = sleep
        self._free_at = 0.0
        self._lock = Lock()

    def take(self, size: int) -> None:
        """Wait until `size` bytes may pass."""
        if self._limit is None:
            return
        with self._lock:
            now = self._seconds()
            begin = max(self._free_at, now - _BURST)
            self._free_at = begin + size / self._limit
        if begin > now:
            self._sleep(begin - now)
