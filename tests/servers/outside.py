"""A server that listens on 127.0.0.1 only, let in by this machine's own address: containers reach it there."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading

_PIECE = 65536


def own_address() -> str:
    """This machine's address on its network. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        asked.connect(("192.0.2.1", 9))  # an address of documentation: whatever route leads away from here
        found: str = asked.getsockname()[0]
        return found


def let_in(port: int) -> str:
    """`host:port` at which, for as long as this process lives, what listens on a port of 127.0.0.1 is reached."""

    class Hand(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 30) as inner:
                inner.settimeout(None)
                threading.Thread(target=_pass, args=(inner, self.request), daemon=True).start()
                _pass(self.request, inner)

    server = socketserver.ThreadingTCPServer((own_address(), 0), Hand)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"{server.server_address[0]}:{server.server_address[1]}"


def _pass(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(_PIECE):
            sink.sendall(piece)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
