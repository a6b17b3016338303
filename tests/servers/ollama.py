"""A real Ollama with a store of its own: `ollama_server` for each test."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops_pipelines.adapters.ollama import Ollama
from ops_pipelines.errors import Unreachable
from tests.parts import require
from tests.servers._child import die_with_parent
from tests.waiting import free_port, until


class OllamaServer:
    """One `ollama serve` in a process session of its own; its store is `models`."""

    def __init__(self, program: Path, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.models = folder / "models"
        self.url = f"http://127.0.0.1:{free_port()}"

    @property
    def api(self) -> Ollama:
        return Ollama(self.url, timeout=120)

    def start(self, models: Path | None = None) -> None:
        """Start on the store `models` (its own, where none is named), and return when it answers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        environ = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(self._folder),
            "OLLAMA_HOST": self.url,
            "OLLAMA_MODELS": str(models or self.models),
            "OLLAMA_MAX_LOADED_MODELS": "1",
        }
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "serve"], env=environ, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - it takes no lock
            )  # fmt: skip
        until(self._answers, what=f"ollama at {self.url}", seconds=60)

    def _answers(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            pytest.fail(f"ollama ended: {(self._folder / 'server.log').read_text()[-2000:]}")
        try:
            return bool(self.api.version())
        except Unreachable:
            return False

    def stop(self) -> None:
        """End it and its runners."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()


@pytest.fixture
def ollama_server(tmp_path: Path) -> Iterator[OllamaServer]:
    """A running Ollama with an empty store."""
    server = OllamaServer(require("ollama").path, tmp_path / "ollama")
    server.start()
    yield server
    server.stop()
