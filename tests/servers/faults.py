"""A store that fails as stores do: a proxy in front of the real one, which breaks what a test tells it to."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Literal
from urllib.parse import urlsplit

from tests.serving import serve

Kind = Literal[
    "answer", "reset", "lost answer", "stall", "altered upload", "altered download", "lying etag", "cut off"
]
_ERROR = "<Error><Code>{code}</Code><Message>made by a test</Message></Error>"
_HOP = ("transfer-encoding", "connection", "date", "server", "content-length")


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request."""

    kind: Kind
    """`answer`: the store says `status` and `code` and does nothing. `reset`: the connection ends, nothing is done.
    `lost answer`: it ends after the store did it. `stall`: nothing comes until the proxy ends. `cut off`: it ends in
    the middle of the answer's content."""
    status: int = 500
    code: str = "InternalError"
    content: str = ""
    """What is answered, instead of an error of that code."""


@dataclass
class Request:
    """What a rule sees of a request."""

    method: str
    path: str
    size: int
    number: int
    """Of all requests, from 1."""
    headers: dict[str, str] = field(default_factory=dict)
    """Their names in lower case."""


Rule = Callable[[Request], Fault | None]


@dataclass
class Proxy:
    """Where it listens, and what it did."""

    endpoint: str = ""
    rule: Rule = lambda _: None
    seen: list[Request] = field(default_factory=list)
    broken: int = 0
    """How many requests were broken."""
    over: threading.Event = field(default_factory=threading.Event)


def first(times: int, fault: Fault, when: Callable[[Request], bool] = lambda _: True) -> Rule:
    """Break the first requests that `when` is true of."""
    left = [fault] * times
    lock = threading.Lock()

    def rule(request: Request) -> Fault | None:
        with lock:
            return left.pop() if left and when(request) else None

    return rule


def always(fault: Fault, when: Callable[[Request], bool] = lambda _: True) -> Rule:
    """Break every request that `when` is true of."""
    return lambda request: fault if when(request) else None


@contextmanager
def faulty(upstream: str, *, tls: ssl.SSLContext | None = None) -> Iterator[Proxy]:
    """A proxy of the store at `upstream`; set its `rule`. With `tls` it speaks https."""
    target = urlsplit(upstream).netloc
    proxy = Proxy()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            with lock:
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(self.command, self.path, len(body), len(proxy.seen) + 1, headers)
                proxy.seen.append(request)
                fault = proxy.rule(request)
                proxy.broken += fault is not None
            if len(body) < length:  # the client broke off
                self.close_connection = True
            elif fault is None:
                self._pass(body, None)
            elif fault.kind == "answer":
                self._say(fault.status, (fault.content or _ERROR.format(code=fault.code)).encode())
            elif fault.kind == "stall":
                proxy.over.wait(60)
                self.close_connection = True
            elif fault.kind == "reset":
                self.close_connection = True
            else:
                self._pass(body, fault.kind)

        def _pass(self, body: bytes, kind: Kind | None) -> None:
            if kind == "altered upload":
                body = _flip(body)
            wire = http.client.HTTPConnection(target, timeout=60)
            wire.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() != "expect":
                    wire.putheader(name, value)
            wire.endheaders(body)
            answer = wire.getresponse()
            content = answer.read()
            wire.close()
            if kind == "lost answer":
                self.close_connection = True
                return
            if kind == "altered download":
                content = _flip(content)
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                lies = name.lower() == "etag" and kind == "lying etag"
                if name.lower() not in _HOP:
                    self.send_header(name, '"00000000000000000000000000000000"' if lies else value)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            if kind == "cut off":
                content = content[: len(content) // 2]
                self.close_connection = True
            self.wfile.write(content)

        def _say(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", "0" if self.command == "HEAD" else str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _handle

        def log_message(self, format: str, *args: object) -> None:
            pass

    with serve(Handler, tls) as endpoint:
        proxy.endpoint = endpoint
        try:
            yield proxy
        finally:
            proxy.over.set()


def _flip(content: bytes) -> bytes:
    """One byte in the middle is another."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :] if content else content
