"""Large objects of a store that speaks plain HTTP, read into one small buffer that is used again and again.

A model passes through the processor's cache then: received, hashed and written by its user before the next piece
overwrites it. It takes half of obstore's CPU, of which each piece is three copies in memory of their own, and a third
less of the store's, whose answers are taken as they come. Over TLS the buffer would fill 16 KiB at a time, and nothing
is gained: there, and through a proxy, obstore reads.

A request is tried once, as obstore's are: whatever goes wrong, the caller goes on by other means."""

from __future__ import annotations

import http.client
import socket
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from urllib.parse import urlsplit

from ops_pipelines.adapters._s3_client import Connection, Encryption
from ops_pipelines.adapters._s3_fast import FastFailedError

WORTH = 1 << 20
"""Bytes of an object below which obstore is as good."""
_BUFFER = 256 << 10
"""Bytes that stay in a processor's own cache from their arrival until they are written."""
_IDLE = 16
_FAILED = (OSError, http.client.HTTPException)


@dataclass(frozen=True)
class Flow:
    """An object whose answer has begun."""

    etag: str
    size: int
    pieces: Iterator[memoryview]
    """All of it; a piece holds good until the next is asked for. Raises FastFailedError where it breaks."""


def _proxies() -> dict[str, str]:
    from urllib.request import getproxies  # a third of this module's import

    return getproxies()


class Plain:
    """One bucket. Threads may share it. `sign` makes the URL by which a key may be read."""

    def __init__(self, connection: Connection, encryption: Encryption, sign: Callable[[str], str]) -> None:
        self._connection = connection
        self._sign = sign
        # A key that comes with each request is a header, which a signed URL does not cover.
        self._may = (connection.endpoint or "").startswith("http://") and encryption.kind != "customer"
        self._idle: deque[http.client.HTTPConnection] = deque(maxlen=_IDLE)
        self._lock = Lock()
        self.requests = 0
        """How many were sent."""

    @property
    def usable(self) -> bool:
        """Whether objects of this store are read so."""
        return self._may and (self._connection.local or not _proxies())

    def open(self, key: str) -> Flow:
        """An object from its begin, by one request. Raises FastFailedError."""
        url = urlsplit(self._sign(key))
        link = self._connected(url.netloc)
        try:
            with self._lock:
                self.requests += 1
            link.request("GET", f"{url.path}?{url.query}")
            answer = link.getresponse()
            etag, size = answer.headers["ETag"], answer.length
            if answer.status != 200 or not etag or size is None:
                raise FastFailedError(f"answered {answer.status}")
        except (*_FAILED, FastFailedError) as error:
            link.close()
            raise FastFailedError("the store gave no answer that can be read") from error
        return Flow(etag, size, self._pieces(link, answer, size))

    def _connected(self, netloc: str) -> http.client.HTTPConnection:
        """A connection that is free, or a new one."""
        with suppress(IndexError):
            return self._idle.pop()
        link = http.client.HTTPConnection(netloc, timeout=self._connection.connect_timeout)
        try:
            link.connect()
        except OSError as error:
            raise FastFailedError("the store cannot be reached") from error
        found: socket.socket = link.sock
        found.settimeout(self._connection.read_timeout)
        return link

    def _pieces(
        self, link: http.client.HTTPConnection, answer: http.client.HTTPResponse, size: int
    ) -> Iterator[memoryview]:
        buffer = memoryview(bytearray(_BUFFER))
        left = size
        try:
            while left:
                count = answer.readinto(buffer[: min(_BUFFER, left)])
                if not count:
                    raise FastFailedError("an answer is incomplete")
                left -= count
                yield buffer[:count]
        except _FAILED as error:
            raise FastFailedError("the connection broke") from error
        finally:
            if left or answer.will_close:
                link.close()
            else:
                answer.close()
                self._idle.append(link)
