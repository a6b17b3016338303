"""A Docker Engine behind ssh: `docker system dial-stdio` on the other machine, as the `docker` command does it.

The SDK's own way needs paramiko, or loses what ssh says when it is refused. Here each connection is one `ssh`, found on
PATH, whose pipe is a real socket, with time limits; its words come back in the error.
"""

from __future__ import annotations

import os
import queue
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any
from urllib.parse import urlsplit

import requests.adapters
import urllib3
import urllib3.connection

from ops_pipelines.adapters import _process

_OPTIONS = ("-o", "BatchMode=yes", "-o", "ConnectTimeout=15")
_LEFT_OUT = ("LD_LIBRARY_PATH", "SSL_CERT_FILE")
_END = 5.0


def command(address: str) -> list[str]:
    """The ssh that reaches the engine at `ssh://[user@]machine[:port]`."""
    url = urlsplit(address)
    words = ["ssh", *_OPTIONS]
    words += ["-l", url.username] if url.username else []
    words += ["-p", str(url.port)] if url.port else []
    return [*words, "--", url.hostname or "", "docker", "system", "dial-stdio"]


class Connection(urllib3.connection.HTTPConnection):
    """One connection to the engine: one ssh."""

    def __init__(self, address: str, environ: Mapping[str, str], timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._address = address
        self._environ = {name: value for name, value in environ.items() if name not in _LEFT_OUT}
        self._process: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None

    def connect(self) -> None:
        """Start ssh. That it is refused is seen when its answer is read."""
        ours, its = socket.socketpair()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the connection
        with its:
            self._process = _process.on_socket(command(self._address), its, self._said, environ=self._environ)
        ours.settimeout(self.timeout if isinstance(self.timeout, (int, float)) else None)
        self.sock = ours

    def getresponse(self) -> Any:
        """As usual; where there is none, with the words of ssh."""
        process, self._process = self._process, None  # it would be ended, before it has spoken, by `close`
        try:
            found = super().getresponse()
        except Exception as error:
            words = self._words(process)
            _end(process)
            if words:
                raise OSError(words) from error
            raise
        self._process = process
        return found

    def request(self, *words: Any, **named: Any) -> None:
        """As usual; where ssh has ended, with its words."""
        try:
            super().request(*words, **named)
        except OSError as error:
            raise OSError(self._words(self._process) or str(error)) from error

    def close(self) -> None:
        """End the ssh with the connection."""
        super().close()
        process, self._process = self._process, None
        _end(process)

    def _words(self, process: subprocess.Popen[bytes] | None) -> str:
        """What ssh printed, once it has ended."""
        if process is None or self._said is None:
            return ""
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END)
        self._said.seek(0)
        return self._said.read().decode("utf-8", "replace").strip()


def _end(process: subprocess.Popen[bytes] | None) -> None:
    if process is not None and process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END)


class _Pool(urllib3.connectionpool.HTTPConnectionPool):
    def __init__(self, address: str, environ: Mapping[str, str], timeout: float) -> None:
        super().__init__("localhost", timeout=timeout, maxsize=4)
        self._address, self._environ, self._within = address, environ, timeout

    def _new_conn(self) -> Any:
        return Connection(self._address, self._environ, self._within)

    def _get_conn(self, timeout: float | None = None) -> Any:
        """One that is there and whose ssh lives, else a new one."""
        del timeout
        with suppress(queue.Empty, AttributeError):
            while True:
                found = self.pool.get(block=False)  # type: ignore[union-attr]
                if found is None:
                    break
                if found._process is not None and found._process.poll() is None:
                    return found
                found.close()
        return self._new_conn()


class Adapter(requests.adapters.HTTPAdapter):
    """What `requests` sends by: each request goes to the engine, whatever its URL's host."""

    def __init__(self, address: str, environ: Mapping[str, str], timeout: float) -> None:
        super().__init__(max_retries=0)
        self._pool = _Pool(address, environ or os.environ, timeout)

    def get_connection_with_tls_context(
        self, request: Any, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        """The one pool."""
        del request, verify, proxies, cert
        return self._pool

    def close(self) -> None:
        """End every ssh."""
        self._pool.close()
        super().close()
