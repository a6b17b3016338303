"""Servers that end with the test run, even where that is killed."""

from __future__ import annotations

import ctypes
import signal

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """As `preexec_fn`: SIGKILL when the test run has gone (Linux; elsewhere fixtures alone stop it).

    It calls one C function and takes no lock, so it may run between fork and exec.
    """
    if hasattr(_LIBC, "prctl"):
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
