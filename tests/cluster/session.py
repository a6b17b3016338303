"""Coming to a cluster: the one of OPS_TEST_KUBECONFIG, else one of real parts that all processes of this run share."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

import pytest

from tests.cluster.programs import NODE, PLANE
from tests.parts import require

_PATIENCE = 120.0


class Session:
    """A connection to the keeper of this run's cluster, which lives while anybody has one."""

    def __init__(self) -> None:
        for name in PLANE:
            require(name)
        run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
        self._path = Path(tempfile.gettempdir()) / f"ops-cluster-{run}.sock"
        self._log = self._path.with_suffix(".log")
        with self._path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._connection, self._lines, about = self._join() or self._begin()
        self.kubeconfig, self.folder = Path(about["kubeconfig"]), Path(about["folder"])

    def node(self) -> dict[str, str]:
        """Have the real node started, once; what it is called, and where its containerd listens."""
        for name in NODE:
            require(name)
        self._connection.sendall(b"node\n")
        answer: dict[str, str] = json.loads(self._lines.readline())
        if "error" in answer:
            pytest.fail(f"the real node does not start: {answer['error']}", pytrace=False)
        return answer

    def end(self) -> None:
        """Go; the last one turns the light off."""
        self._lines.close()
        self._connection.close()

    def _join(self) -> tuple[socket.socket, IO[bytes], dict[str, Any]] | None:
        """What the keeper said, or None where there is none, or one that is just going."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(_PATIENCE)
        try:
            connection.connect(str(self._path))
            lines = connection.makefile("rb")
            if said := lines.readline():
                return connection, lines, json.loads(said)
        except OSError:
            pass
        connection.close()
        return None

    def _begin(self) -> tuple[socket.socket, IO[bytes], dict[str, Any]]:
        """Start a keeper and join it. A killed one has left its socket."""
        self._path.unlink(missing_ok=True)
        with self._log.open("ab") as log:
            keeper = subprocess.Popen(
                [sys.executable, "-m", "tests.cluster.keeper", str(self._path)],
                cwd=Path(__file__).resolve().parents[2],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert keeper.stdout is not None
        with keeper.stdout as said:
            said.read()  # to its end, which comes once the keeper listens, or has gone
        joined = self._join()
        if joined is None:
            pytest.fail(f"no cluster: {self._log.read_text(errors='replace')[-3000:]}", pytrace=False)
        return joined
