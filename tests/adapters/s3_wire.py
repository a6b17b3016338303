"""A wire that fails: it stands between our client and a real store, and breaks what a test asks it to."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

from tests.serving import serve

Break = Callable[[str, str], int | bytes | None]
"""Given method and path: None to pass the answer on, a number of bytes of its body after which to hang up, or
the body of a 404 that is answered instead."""


@contextmanager
def broken_wire(upstream: str, rule: Break) -> Iterator[str]:
    """Address of a proxy of `upstream`. 0 from `rule` hangs up with no answer, after the store did the work."""
    target = urlsplit(upstream).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            upstream_wire = http.client.HTTPConnection(target, timeout=30)
            upstream_wire.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() != "expect":
                    upstream_wire.putheader(name, value)
            upstream_wire.endheaders(body)
            answer = upstream_wire.getresponse()
            content = answer.read()
            upstream_wire.close()
            cut = rule(self.command, self.path)
            if isinstance(cut, bytes):
                self._say(404, cut)
                return
            if cut != 0:
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("transfer-encoding", "connection", "date", "server"):
                        self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content[:cut])
            if cut is not None:
                self.close_connection = True

        def _say(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _pass

        def log_message(self, format: str, *args: object) -> None:
            pass

    with serve(Handler) as endpoint:
        yield endpoint


@contextmanager
def canned(status: int, content: bytes, content_type: str = "application/xml") -> Iterator[str]:
    """Address of a server that gives one recorded answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    with serve(Handler) as endpoint:
        yield endpoint
