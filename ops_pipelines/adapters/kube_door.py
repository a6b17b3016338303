"""A door on this machine to the HTTP ports of a cluster's pods, through the API server (as `kubectl proxy` is one).

It listens on 127.0.0.1 alone, and a path that nobody can guess comes before that of the pod: who else is on this
machine does not come in. It ends with this process.
"""

from __future__ import annotations

import secrets
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

from ops_pipelines.adapters.kube import Cluster
from ops_pipelines.errors import OpsError

_DROPPED = {
    "host",
    "connection",
    "transfer-encoding",
    "authorization",
    "content-length",
    "keep-alive",
    "accept-encoding",
}
_doors: dict[str, Door] = {}
_lock = Lock()


class Door:
    """One door, for all pods of one cluster."""

    def __init__(self, cluster: Cluster) -> None:
        word = secrets.token_urlsafe(16)

        class Handler(_Handler):
            pass

        Handler.cluster, Handler.word = cluster, word
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._base = f"http://127.0.0.1:{self._server.server_port}/{word}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def address(self, namespace: str, pod: str, port: int) -> str:
        """URL under which a pod's port answers here."""
        return f"{self._base}/{namespace}/{pod}/{port}"


def door(cluster: Cluster) -> Door:
    """The door of a cluster, opened when it is first asked for."""
    key = f"{cluster.access.server} {cluster.access.context}"
    with _lock:
        if key not in _doors:
            _doors[key] = Door(cluster)
        return _doors[key]


class _Handler(BaseHTTPRequestHandler):
    """Hands a request on. Answers are handed back as they come: words of a model may take their time."""

    cluster: Cluster
    word: str
    protocol_version = "HTTP/1.0"

    def _hand_on(self) -> None:
        _, word, *rest = self.path.split("/", 5)
        if not secrets.compare_digest(word, self.word) or len(rest) < 3:
            self.send_error(404)
            return
        namespace, pod, port, path = (*rest, "")[:4]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _DROPPED}
        at = f"/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/{path}"
        try:
            with self.cluster.open_stream(self.command, at, headers=headers, content=body) as answer:
                self.send_response(answer.status_code)
                self.send_header(
                    "Content-Type", answer.headers.get("content-type", "application/octet-stream")
                )
                self.end_headers()
                for piece in answer.iter_bytes():
                    self.wfile.write(piece)
        except OpsError as error:
            self.send_error(502, explain=error.message)

    do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = _hand_on  # noqa: N815  names that http.server asks for

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: paths hold the word."""
