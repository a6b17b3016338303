"""A door by which pods reach a server that listens on this machine's loopback alone."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from tests.cluster.use import Cluster


@contextmanager
def door_to(cluster: Cluster, url: str) -> Iterator[str]:
    """The URL by which pods reach the server of another one."""
    ends = json.loads(cluster.kubectl("get", "endpoints", "kubernetes", "-o", "json"))
    here = str(ends["subsets"][0]["addresses"][0]["ip"])
    behind = urlsplit(url)

    class Door(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection((str(behind.hostname), int(behind.port or 80))) as other:
                back = threading.Thread(target=_carry, args=(other, self.request), daemon=True)
                back.start()
                _carry(self.request, other)
                back.join()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server((here, 0), Door) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"{behind.scheme}://{here}:{server.server_address[1]}"
        server.shutdown()


def _carry(source: socket.socket, into: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            into.sendall(data)
    with suppress(OSError):
        into.shutdown(socket.SHUT_WR)
