"""What becomes of a command, and of what it started in turn, when whoever ran it is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from ops_pipelines.adapters import _process
from tests.waiting import until

_RUN = """
import sys
from ops_pipelines.adapters import _process
_process.run(["sh", "-c", sys.argv[1]], timeout=300, remedy="none")
"""
_TWO = 'sleep 300 & echo $! > "$0.new"; echo $$ >> "$0.new"; mv "$0.new" "$0"; wait'


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill -9", "kill"])
def test_killed_with_a_command_running(tmp_path: Path, number: signal.Signals) -> None:
    """The command and its own child end too, in whatever way the process that runs it is ended."""
    told = tmp_path / "pids"
    script = _TWO.replace("$0", str(told))
    runner = subprocess.Popen([sys.executable, "-c", _RUN, script])
    until(told.is_file, seconds=30)
    started = [psutil.Process(int(word)) for word in told.read_text().split()]
    os.kill(runner.pid, number)
    runner.wait(30)
    until(lambda: not any(one.is_running() and one.status() != "zombie" for one in started), seconds=30)


def test_ended_in_its_own_time(tmp_path: Path) -> None:
    """What a command leaves running on purpose goes on, and nothing else is left."""
    before = {one.pid for one in psutil.Process().children(recursive=True)}
    done = _process.run(
        ["sh", "-c", "sleep 300 >/dev/null 2>&1 & echo $!"], timeout=30, remedy="none", cwd=tmp_path
    )
    left = psutil.Process(int(done.stdout))
    try:
        assert left.is_running()
        assert {one.pid for one in psutil.Process().children(recursive=True)} <= before
    finally:
        left.kill()
