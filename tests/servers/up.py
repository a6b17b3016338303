"""`ops-pipelines up` as a user starts it: in a session of its own, on a home folder of its own."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from ops_pipelines.adapters.machine import port_state
from ops_pipelines.settings import RUN_ENV, load_settings, read_env_file
from ops_pipelines.up.dagster_api import Dagster
from ops_pipelines.up.environment import PORTS
from ops_pipelines.wiring.site import Site, load_fleet
from tests.waiting import is_free, until

ROOT = Path(__file__).parents[2]
PROGRAM = Path(sys.executable).with_name("ops-pipelines")
TEXTS = {
    "backup": "# Backups\n\nA backup is committed only when every part was stored and verified.",
    "restore": "# Restores\n\nA restore is staged beside the live stack, checked, and only then switched.",
    "prune": "# Pruning\n\nThe last verified and the last drilled snapshot are never pruned.",
    "garden": "# Garden\n\nTomatoes want sun, water at their feet and a stake to climb.",
}
READY = "Ctrl-C stops everything"
_FIRST, _STOPPED = 270.0, 90.0


class Up:
    """One home folder, and `up` on it as often as a test likes, with TEXTS as the corpus.

    `log` is what the last one printed.
    """

    def __init__(self, folder: Path, **environ: str) -> None:
        self.home, corpus = folder / "home", folder / "corpus"
        self.home.mkdir()
        corpus.mkdir()
        for name, text in TEXTS.items():
            (corpus / f"{name}.md").write_text(text)
        self._log = folder / "up.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.environ = {
            **{
                name: value for name, value in os.environ.items() if not name.startswith(("OPS_", "DAGSTER_"))
            },
            "OPS_HOME": str(self.home),
            "OPS_DEMO_CORPUS": str(corpus),
            **environ,
        }
        # Two that start at the same moment, each in a test run of its own, would else choose the same ports.
        (self.home / RUN_ENV).write_text("".join(_ports()))

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def chosen(self) -> dict[str, str]:
        """What it has written down."""
        return read_env_file(self.home / RUN_ENV)

    @property
    def dagster(self) -> Dagster:
        return Dagster(self.chosen["OPS_DAGSTER_URL"])

    @property
    def site(self) -> Site:
        """Obelisk, as the running one sees it."""
        return load_fleet(load_settings(self.environ, cwd=ROOT)).site("obelisk")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, *words: str, cwd: Path = ROOT, **environ: str) -> None:
        """Start it, and return at once."""
        with self._log.open("wb") as out:
            self._process = subprocess.Popen(
                [PROGRAM, "up", *words], env={**self.environ, **environ}, cwd=cwd, stdin=subprocess.DEVNULL,
                stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip

    def until_said(self, words: str) -> None:
        """Wait until it has printed something. Fails where it ends before."""

        def said() -> bool:
            ended = self._process is None or self._process.poll() is not None
            if words in self.log:
                return True
            assert not ended, f"`up` ended before it said {words!r}: {self.log[-4000:]}"
            return False

        until(said, what=f"`up` to say {words!r}: {self.log[-4000:]}", seconds=_FIRST)

    def ended(self) -> int:
        """Its exit status, once it has ended by itself or after a signal."""
        assert self._process is not None
        return self._process.wait(_FIRST)

    def interrupt(self) -> int:
        """Ctrl-C: SIGINT to its whole process group. Returns the exit status."""
        os.killpg(self.pid, signal.SIGINT)
        return self.ended()

    def terminate(self) -> int:
        """SIGTERM to it alone. Returns the exit status."""
        os.kill(self.pid, signal.SIGTERM)
        return self.ended()

    def kill(self) -> None:
        """SIGKILL to it alone, as the kernel does when memory is short."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def kill_all_below(self) -> None:
        """SIGKILL to supervisord and all that it runs, at once, `up` left out."""
        below = psutil.Process(self.pid).children(recursive=True)
        for process in sorted(below, key=lambda one: self.pid != one.ppid()):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def again(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Another `up` of the same home, while this one runs, to its end."""
        return self.cli("up", *words)

    def cli(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A verb, as a person in another terminal would give it."""
        return subprocess.run(
            [PROGRAM, *words], env=self.environ, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip

    def left(self) -> list[str]:
        """Command lines of processes of this home that live, `up` itself left out."""
        own = {self._process.pid} if self._process else set[int]()
        return [" ".join(process.cmdline())[:200] for process in _living(self.home) if process.pid not in own]

    def pids(self, word: str) -> set[int]:
        """Living processes of this home whose command line holds a word."""
        return {process.pid for process in _living(self.home) if word in " ".join(process.cmdline())}

    def close(self) -> None:
        """End whatever lives."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_STOPPED)
            except subprocess.TimeoutExpired:
                self.kill()
        for process in _living(self.home):
            process.kill()


def _living(home: Path) -> Iterator[psutil.Process]:
    """Known by the environment that every process of a home is given, or by the folder that it works in."""
    for process in psutil.process_iter():
        try:
            with process.oneshot():
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                mine = process.environ().get("OPS_HOME") == str(home)
                if mine or Path(process.cwd()).is_relative_to(home):
                    yield process
        except (psutil.Error, OSError):
            continue


def _ports() -> Iterator[str]:
    port = random.randrange(12_000, 18_000, 10)
    for wish in PORTS:
        while not all(is_free(each) for each in _numbers(port, wish.count, wish.grpc)):
            port += 10
        yield f"{wish.variable}={port}\n"
        port += 10


def _numbers(port: int, count: int, grpc: bool) -> list[int]:
    return [*range(port, port + count), *([port + 10_000] if grpc else [])]


def assert_nothing_left(up: Up) -> None:
    """No process of the home lives, and nobody listens on its ports."""
    until(lambda: not up.left(), what=f"the end of {up.left()}", seconds=60)
    assert [port for port in _ports_of(up.chosen) if port_state(port) != "free"] == []


def assert_short(log: str, lines: int = 40) -> None:
    """A line a step: no log, no traceback, nothing of a library's own."""
    assert len(log.splitlines()) <= lines, log
    for line in log.splitlines():
        assert not re.search(r"Traceback|Error:|^[IWE]\d{4} |\[(info|warning|debug)|grpc|absl::", line), log


def _ports_of(chosen: dict[str, Any]) -> list[int]:
    """Every port that a home has chosen."""
    return [
        number for wish in PORTS for number in _numbers(int(chosen[wish.variable]), wish.count, wish.grpc)
    ]
