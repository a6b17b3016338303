"""A model server as a process, for tests: started, watched through its log, asked over fresh connections."""

from __future__ import annotations

import http.client
import importlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

SCRIPT = Path(__file__).parents[2] / "examples" / "model_server" / "server.py"
MODEL = "sentence-transformers/all-MiniLM-L6-v2"
REPO = "models--sentence-transformers--all-MiniLM-L6-v2"
PATIENCE = 60.0  # for a condition on a busy machine; met in well under a second on an idle one

# By name: the modules of an example are scripts beside each other, not a package that mypy could follow.
hub_cache = importlib.import_module("examples.model_server.hub_cache")
minilm = importlib.import_module("examples.model_server.minilm")


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Running:
    """A server process: its log as it comes, and requests to it over fresh connections."""

    def __init__(self, cache: Path, *arguments: str, port: int = 0) -> None:
        command = [sys.executable, str(SCRIPT), "--cache", str(cache), "--port", str(port)]
        self.process = subprocess.Popen(
            [*command, "--admin-port", "0", *arguments], stderr=subprocess.PIPE, text=True
        )
        self.events: list[dict[str, Any]] = []
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        listening = self.logged("listening")
        self.port: int = listening["port"]
        self.admin_port: int = listening["admin_port"]

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._more:
                self.events.append(json.loads(line))
                self._more.notify_all()

    def logged(self, event: str) -> dict[str, Any]:
        """The first line of this event, waited for."""
        with self._more:
            found = self._more.wait_for(lambda: [e for e in self.events if e["event"] == event], PATIENCE)
            assert found, f"no {event!r} in {self.events}"
            return found[0]

    def ask(self, method: str, path: str, body: bytes | None = None, *, admin: bool = False) -> Answer:
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.admin_port if admin else self.port, timeout=PATIENCE
        )
        try:
            return exchange(connection, method, path, body)
        finally:
            connection.close()

    def embed(self, texts: str | list[str], **more: object) -> Answer:
        return self.ask("POST", "/v1/embeddings", request_body(texts, **more))

    def metric(self, name: str, **labels: str) -> float | None:
        exposition = self.ask("GET", "/metrics", admin=True).body.decode()
        samples = [s for f in text_string_to_metric_families(exposition) for s in f.samples]
        return next((s.value for s in samples if s.name == name and s.labels == labels), None)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert self.process.stderr is not None
        self.process.stderr.close()


def request_body(texts: str | list[str], **more: object) -> bytes:
    return json.dumps({"model": MODEL, "input": texts, **more}).encode()


def exchange(connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None) -> Answer:
    connection.request(method, path, body)
    response = connection.getresponse()
    return Answer(response.status, response.headers, response.read())


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Ask again until it holds; each question is a request, which is pause enough."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
