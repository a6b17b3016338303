"""HTTP/1.1 in front of a worker: which path is what, bodies, errors as JSON, and X-Worker on every answer."""

from __future__ import annotations

import json
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from listener import Server
from protocol import MAX_BODY, ApiError, models_response, too_large

METHODS = {"/health": "GET", "/metrics": "GET", "/v1/models": "GET", "/v1/embeddings": "POST"}
ADMIN_PATHS = ("/health", "/metrics")
MAX_LINE = 65536
DISCARDED = 8 * MAX_BODY  # a body up to here is read to its end before it is refused


class Handler(BaseHTTPRequestHandler):
    """One connection. Refusals are ApiErrors until `_send`, which alone writes."""

    server: Server
    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.1"  # of a line that cannot be read: HTTP/0.9 answers without headers
    request_version = "HTTP/1.1"
    command = ""
    server_version = "model-server"
    sys_version = ""
    timeout = 60  # a connection may sit idle for so long, or take so long over its body
    wbufsize = -1  # headers and body leave in one segment
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self._used = False
        self._unread = 0

    def finish(self) -> None:
        self._mark_used()
        super().finish()

    def handle_one_request(self) -> None:
        """As the base class does it, but any method comes to `_serve`, inside what `drain` waits for."""
        try:
            self.raw_requestline = self.rfile.readline(MAX_LINE + 1)
            if not self.raw_requestline:
                self.close_connection = True
                return
            with self.server.worker.answering():  # owed before no longer fresh: no gap for drain to miss
                self._mark_used()
                self._unread = 0
                if len(self.raw_requestline) > MAX_LINE:
                    self.send_error(HTTPStatus.REQUEST_URI_TOO_LONG)
                elif self.parse_request():
                    self._serve()
        except TimeoutError:
            self.close_connection = True

    def _mark_used(self) -> None:
        if not self._used:
            self._used = True
            self.server.worker.connection_used()

    def _serve(self) -> None:
        path = urlsplit(self.path).path
        try:
            self._unread = self._body_length()
            self._check_route(path)
            if path == "/v1/embeddings":
                self._embeddings()
            elif path == "/metrics":
                exposition = self.server.worker.telemetry.exposition()
                self._send(HTTPStatus.OK, exposition, "text/plain; version=0.0.4; charset=utf-8")
            elif path == "/health":
                self._send_json(*self.server.worker.health())
            else:
                worker = self.server.worker
                self._send_json(HTTPStatus.OK, models_response(worker.model, worker.revision))
        except ApiError as error:
            self._send_json(error.status, error.body())

    def _check_route(self, path: str) -> None:
        if path not in (ADMIN_PATHS if self.server.admin else METHODS):
            raise ApiError(HTTPStatus.NOT_FOUND, f"no such path: {path}", code="not_found")
        if self.command != METHODS[path]:
            message = f"{path} takes {METHODS[path]} only"
            raise ApiError(HTTPStatus.METHOD_NOT_ALLOWED, message, code="method_not_allowed")

    def _embeddings(self) -> None:
        worker = self.server.worker
        started = time.monotonic()
        with worker.telemetry.request():
            status, answer = self._computed()
            # Counted before it is sent: a client that has its answer finds it in the metrics.
            worker.telemetry.answered(status)
            self._send_json(status, answer)
        worker.telemetry.log("request", status=int(status), seconds=round(time.monotonic() - started, 4))

    def _computed(self) -> tuple[HTTPStatus, dict[str, Any]]:
        try:
            return HTTPStatus.OK, self.server.worker.embeddings(self._read_body())
        except ApiError as error:
            return error.status, error.body()
        except Exception as error:  # noqa: BLE001 - a defect must reach the client as 500 and the log
            self.server.worker.telemetry.log("failed", error=repr(error))
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            return status, ApiError(status, "the server failed; see its log", code="internal").body()

    def _body_length(self) -> int:
        if self.headers.get("Transfer-Encoding"):
            self.close_connection = True  # where the body ends is not known, so nothing can follow it
            raise ApiError(HTTPStatus.LENGTH_REQUIRED, "send a Content-Length", code="length_required")
        given = self.headers.get("Content-Length", "0")
        if not (given.isascii() and given.isdigit()):
            self.close_connection = True
            raise ApiError(HTTPStatus.BAD_REQUEST, "Content-Length is no number", code="invalid_length")
        return int(given)

    def _read_body(self) -> bytes:
        if self._unread > MAX_BODY:
            raise too_large(f"a body of {self._unread} bytes; at most {MAX_BODY}")
        try:
            body = self.rfile.read(self._unread)
        except TimeoutError as error:
            self.close_connection = True
            raise ApiError(HTTPStatus.REQUEST_TIMEOUT, "the body did not arrive", code="timeout") from error
        self._unread -= len(body)
        return body

    def _discard_body(self) -> None:
        """A client that still sends when its connection closes may never see the answer: let it finish."""
        if self._unread <= DISCARDED and not self.close_connection:
            while self._unread and (part := self.rfile.read(min(self._unread, 1 << 16))):
                self._unread -= len(part)

    def _send_json(self, status: HTTPStatus, answer: dict[str, Any]) -> None:
        self._send(status, json.dumps(answer).encode(), "application/json")

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self._discard_body()
        # What is left of a body would be read as the next request.
        self.close_connection = self.close_connection or self._unread > 0 or self.server.worker.stopping
        self.send_response_only(status)
        self.send_header("X-Worker", self.server.worker.name)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            self.send_header("Retry-After", "1")
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", METHODS[urlsplit(self.path).path])
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def handle_expect_100(self) -> bool:
        go_on = super().handle_expect_100()
        self.wfile.flush()  # the client waits for it before it sends the body
        return go_on

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class refuses (a malformed or overlong request line) in the same JSON."""
        self.close_connection = True
        status = HTTPStatus(code)
        error = ApiError(status, message or explain or status.phrase, code="bad_request")
        self._send_json(status, error.body())
