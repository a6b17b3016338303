"""Real supervisord: `supervisord` runs in a folder of its own and is ended with all its programs."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from ops_pipelines.adapters._supervisor_strays import MARK, wait_gone
from ops_pipelines.adapters.supervisor import Supervisord
from ops_pipelines.policy.processes import Program, Ready

SERVE = """
import http.server, json, os, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/crash":
            os.kill(os.getpid(), signal.SIGKILL)
        body = json.dumps({"pid": os.getpid(), "environ": dict(os.environ), "cwd": os.getcwd()}).encode()
        self.send_response(int(os.environ.get("STATUS", "200")))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words):
        pass
print("listening on", sys.argv[1], flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
"""A web server on port argv[1] that shows its environment, and dies when it is asked for /crash."""


class SupervisordServer:
    """A real supervisord to be used, and to be killed."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(home), "OPS_HOME": str(home)}
        self.adapter = self.another(self.environ)

    def another(self, environ: Mapping[str, str]) -> Supervisord:
        """The same supervisord as somebody with another environment sees it."""
        return Supervisord(self.home / "supervisor", environ)

    @property
    def pid(self) -> int:
        return int(self.adapter.folder.pid_file.read_text())

    def kill(self) -> None:
        """SIGKILL to supervisord alone, as the kernel does when memory is short."""
        process = psutil.Process(self.pid)
        process.send_signal(signal.SIGKILL)
        assert not wait_gone([process], 10)

    def marked(self) -> list[psutil.Process]:
        """Living processes that were started below the folder."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK, "").startswith(str(self.adapter.folder.path)):
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def server(self, name: str, port: int, **facts: object) -> Program:
        """A program that serves HTTP on a port."""
        return Program(
            **{
                "name": name, "command": (sys.executable, "-c", SERVE, str(port)), "environment": {},
                "directory": str(self.home), "ports": (port,), "stop_seconds": 5.0,
                "ready": Ready(port, "/", within=20.0, every=0.05), **facts,
            }  # type: ignore[arg-type]
        )  # fmt: skip


def ask(port: int, path: str = "/") -> dict[str, Any] | None:
    """What the web server of SERVE says, or None where nobody answers."""
    try:
        with httpx.Client(trust_env=False, timeout=5) as client:
            return dict(client.get(f"http://127.0.0.1:{port}{path}").json())
    except httpx.HTTPError:
        return None


def pid_at(port: int) -> int | None:
    """Process that answers on a port."""
    answer = ask(port)
    return int(answer["pid"]) if answer else None


@pytest.fixture
def supervisord(tmp_path: Path) -> Iterator[SupervisordServer]:
    server = SupervisordServer(tmp_path / "home")
    server.home.mkdir()
    server.adapter.ensure_running()
    yield server
    server.adapter.shutdown()
    assert not server.marked()
