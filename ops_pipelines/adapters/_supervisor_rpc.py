"""supervisord's XML-RPC over its unix socket, with time limits, failures as errors of this project."""

from __future__ import annotations

import http.client
import socket
import xmlrpc.client
from pathlib import Path
from typing import Any

from ops_pipelines.errors import OpsError, Refused, Unreachable

BAD_NAME = 10
NOT_RUNNING = 70
ALREADY_STARTED = 60
SUCCESS = 80
STILL_RUNNING = 91


class Fault(Refused):
    """supervisord said no; `code` is its own number for why."""

    def __init__(self, code: int, message: str, *, remedy: str) -> None:
        super().__init__(message, remedy=remedy)
        self.code = code


def call(socket_path: Path, method: str, *arguments: Any, log: Path, timeout: float = 15.0) -> Any:
    """Call one method of supervisord's `supervisor` namespace.

    Raises Unreachable where it does not answer within `timeout` seconds, Fault where it refuses.
    """
    transport = _Transport(socket_path, timeout)
    try:
        proxy = xmlrpc.client.ServerProxy("http://supervisord/RPC2", transport=transport)
        return getattr(proxy.supervisor, method)(*arguments)
    except xmlrpc.client.Fault as fault:
        raise Fault(
            fault.faultCode, f"supervisord refuses {method}: {fault.faultString}", remedy=f"its log is {log}"
        ) from fault
    except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
        if isinstance(error, xmlrpc.client.ResponseError):
            raise OpsError(
                f"supervisord's answer to {method} is not readable", remedy=f"see {log}"
            ) from error
        raise Unreachable(
            f"supervisord does not answer at {socket_path} ({error or type(error).__name__})",
            remedy=f"start it with `ops-pipelines up`; its log is {log}",
        ) from error
    finally:
        transport.close()


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("supervisord", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__()
        self._path = path
        self._timeout = timeout

    def make_connection(self, host: Any) -> http.client.HTTPConnection:  # noqa: ARG002 - a unix socket has none
        return _Connection(self._path, self._timeout)
