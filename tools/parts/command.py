"""The one place that runs a command: an argument list, a time limit, and its output when it fails."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.parts import cache
from tools.parts.part import PartError

TAIL = 15


def run(argv: Sequence[str | Path], *, timeout: float, env: Mapping[str, str] | None = None) -> str:
    """Run to the end and return what it printed; `env` is added to ours.

    What it prints goes to a file and not to a pipe: a service that a package starts would hold the pipe open.
    The file stays when the command fails. Whatever ends this call, nothing that it started goes on.
    """
    words = [str(word) for word in argv]
    log = cache.root() / "logs" / f"{Path(words[0]).name}-{os.getpid()}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as out:
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        except OSError as error:
            log.unlink()
            raise PartError(f"{words[0]} does not start: {error.strerror}") from error
        try:
            code: int | None = process.wait(timeout)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            if process.poll() is None:
                _end(process)
    text = log.read_text(errors="replace")
    if code == 0:
        log.unlink()
        return text
    ended = f"was not done after {timeout:.0f} s" if code is None else f"ended with {code}"
    tail = "\n".join(f"    {line}" for line in text.splitlines()[-TAIL:])
    raise PartError(f"`{' '.join(words)}` {ended}; all it printed: {log}\n{tail}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask its whole session to end, then make it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(10)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
