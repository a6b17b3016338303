"""A worker's listening socket: taken early, opened when it can serve, closed without a loss."""

from __future__ import annotations

import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from worker import Worker


class Server(ThreadingHTTPServer):
    """One listening socket of a worker. Its address is taken at once; `start` makes it reachable."""

    request_queue_size = 128
    daemon_threads = True
    block_on_close = False  # Worker.drain waits for requests; idle connections are nobody's concern

    def __init__(
        self,
        address: tuple[str, int],
        handler: type[BaseHTTPRequestHandler],
        worker: Worker,
        *,
        admin: bool = False,
        shared: bool = False,
    ) -> None:
        """`admin` serves health and metrics only; `shared` lets other workers have the same port.

        OSError when the address is taken.
        """
        self.worker = worker
        self.admin = admin
        self.allow_reuse_port = shared
        self._queue_empty = False
        self._starting = threading.Lock()
        self._serving: threading.Thread | None = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        super().__init__(address, handler, bind_and_activate=False)
        self.server_bind()

    def start(self) -> None:
        """Listen, and serve from a thread of its own; nothing when `stop` came first."""
        with self._starting:
            if self._serving is not None:
                self.server_activate()
                self._serving.start()

    def stop(self) -> None:
        """Take no more connections, but serve those that the kernel had queued: closing would reset them."""
        with self._starting:
            serving, self._serving = self._serving, None
        if serving is not None and serving.is_alive():
            self.shutdown()
            self.timeout = 0
            while not self._queue_empty:
                self.handle_request()
        self.server_close()

    def server_bind(self) -> None:
        # HTTPServer's own asks the resolver for this host's name, which can take seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def handle_timeout(self) -> None:
        self._queue_empty = True

    def process_request(self, request: Any, client_address: Any) -> None:
        self.worker.connection_opened()
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class's names
        error = repr(sys.exc_info()[1])
        self.worker.telemetry.log("connection_failed", client=client_address[0], error=error)
