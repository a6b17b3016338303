"""Processes that outlived their supervisor or their program, known by a mark in their environment.

supervisord kills a program's process group. What a killed supervisord leaves, or a child that has left the
group, is found by the mark, which children inherit: two copies of one program never run at once.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

MARK = "OPS_SUPERVISED"
_PR_SET_PDEATHSIG = 1


def mark(folder: Path, name: str) -> str:
    """What the mark of a program reads."""
    return f"{folder}:{name}"


def strays(folder: Path, name: str | None = None) -> list[psutil.Process]:
    """Marked processes of a program, or of all programs of a folder; never the caller or its parents.

    Processes of other users cannot be looked into and are left out.
    """
    begin = mark(folder, name or "")
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        if process.pid in own:
            continue
        try:
            value = process.environ().get(MARK, "")
        except (psutil.Error, OSError):
            continue
        if value == begin or (name is None and value.startswith(begin)):
            found.append(process)
    return found


def end(processes: Iterable[psutil.Process], seconds: float) -> list[int]:
    """Ask processes to stop, wait so many seconds, kill what is left, wait until all are gone; their pids."""
    asked = list(processes)
    _signal(asked, signal.SIGTERM)
    left = wait_gone(asked, seconds)
    _signal(left, signal.SIGKILL)
    wait_gone(left, 10)
    return [process.pid for process in asked]


def wait_gone(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait until processes have ended, at most so many seconds; those that have not."""
    limit = time.monotonic() + seconds
    left = [process for process in processes if running(process)]
    while left and time.monotonic() < limit:
        time.sleep(0.02)
        left = [process for process in left if running(process)]
    return left


def running(process: psutil.Process) -> bool:
    """Whether a process has not ended. One that only nobody has waited for has ended."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _signal(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


def die_with_parent() -> None:
    """Have the system send this process SIGTERM when its parent dies. It outlives exec. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
