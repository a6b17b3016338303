"""Whether a server answers: one HTTP GET or one TCP connection, with a time limit."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from ops_pipelines.adapters._http import client
from ops_pipelines.policy.plan import Finding

_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "postgres": 5432, "redis": 6379, "clickhouse": 9000}


def check_http(subject: str, url: str, *, timeout: float = 5.0) -> Finding:
    """Ask a URL. Good: 2xx. Bad: another status, no listener, no answer in `timeout` seconds.

    None where it could not be observed: the name does not resolve, the network or TLS stands in between.
    """
    import httpx

    shown = _without_password(url)
    try:
        with client(timeout=timeout) as http, http.stream("GET", url) as response:
            status = response.status_code
    except httpx.TimeoutException:
        return Finding(subject, False, f"{shown} did not answer within {timeout:g} s", "look at its log")
    except httpx.RemoteProtocolError as error:
        return Finding(subject, False, f"{shown} answers, but not HTTP ({error})", "look at its log")
    except httpx.HTTPError as error:
        return _failed(subject, shown, error)
    except httpx.InvalidURL as error:
        return Finding(subject, False, f"{shown} is no URL ({error})", "correct the address")
    if 200 <= status < 300:
        return Finding(subject, True, f"{shown} answers {status}")
    return Finding(subject, False, f"{shown} answers {status}", "look at its log")


def check_tcp(subject: str, host: str, port: int, *, timeout: float = 5.0) -> Finding:
    """Connect to a port. Good: connected. Bad: nobody listens. None where it could not be observed."""
    shown = f"{host}:{port}"
    try:
        socket.create_connection((host, port), timeout=timeout).close()
    except OSError as error:
        return _failed(subject, shown, error)
    return Finding(subject, True, f"{shown} accepts connections")


def check_address(subject: str, address: str, *, path: str | None = None, timeout: float = 5.0) -> Finding:
    """Ask an address of a declaration: by HTTP where `path` is given or the URL has one, else by TCP."""
    parts = urlsplit(address if "://" in address else f"tcp://{address}")
    try:
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        port = None
    if not parts.hostname or port is None:
        return Finding(
            subject, False, f"{_without_password(address)} names no host and port", "write scheme://host:port"
        )
    asked = path if path is not None else parts.path.rstrip("/")
    if parts.scheme in ("http", "https") and asked:
        base = address if path is None else address.rstrip("/") + path
        return check_http(subject, base, timeout=timeout)
    return check_tcp(subject, parts.hostname, port, timeout=timeout)


def _failed(subject: str, shown: str, error: Exception) -> Finding:
    if _refused(error):
        return Finding(subject, False, f"{shown} refuses connections: nobody listens there", "start it")
    words = str(error) or type(error).__name__
    return Finding(
        subject, None, f"{shown} could not be asked ({words})", "check the address, DNS, network and TLS"
    )


def _refused(error: BaseException | None) -> bool:
    import httpx

    while error is not None:
        if isinstance(error, ConnectionRefusedError | ConnectionResetError | BrokenPipeError):
            return True
        if isinstance(error, httpx.ReadError | httpx.WriteError):  # it hung up in the middle of an answer
            return True
        error = error.__cause__ or error.__context__
    return False


def _without_password(url: str) -> str:
    head, sep, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{head}{sep}{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}" if sep else url
