"""The one place that runs a command: an argument list, a time limit, the output kept on failure."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ops_pipelines.errors import CommandFailed, CommandMissing

_TAIL = 4000
_SHELL = "/bin/sh"
_WATCH = 'read -r line || { kill -s TERM -- "-$0"; sleep 10; kill -s KILL -- "-$0"; }'
"""A line says that the group may go on; none, that nobody is left to say so. It has 10 s to end in its own way."""


def find_program(name: str, *, environ: Mapping[str, str], remedy: str) -> Path:
    """Path of a program on PATH. Raises CommandMissing with `remedy` where it is not there."""
    found = shutil.which(name, path=environ.get("PATH"))
    if found is None:
        raise CommandMissing(f"the program `{name}` is not on PATH", remedy=remedy)
    return Path(found)


def run(
    command: Sequence[str | Path],
    *,
    timeout: float,
    remedy: str,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: bytes | None = None,
    secrets: Sequence[str] = (),
) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end and return it with its output.

    `secrets` are values that are masked in errors; pass secrets to a command by its environment or its
    standard input, never as an argument. Raises CommandMissing, or CommandFailed (with the tail of the
    output) where it exits with another status than 0 or outlives `timeout` seconds.
    """
    words = [str(word) for word in command]
    shown = masked(shlex.join(words), secrets)
    try:
        done = _communicate(words, environ, cwd, b"" if stdin is None else stdin, timeout)
    except FileNotFoundError as error:
        raise CommandMissing(f"the program `{words[0]}` is not there", remedy=remedy) from error
    except PermissionError as error:
        raise CommandFailed(f"`{shown}` cannot be started: {error.strerror}", remedy=remedy) from error
    except subprocess.TimeoutExpired as error:
        output = masked(_text(error.stdout) + _text(error.stderr), secrets)
        raise CommandFailed(
            f"`{shown}` did not end within {timeout:g} s and was stopped", remedy=remedy, output=output
        ) from error
    if done.returncode != 0:
        output = masked(_text(done.stdout) + _text(done.stderr), secrets)
        raise CommandFailed(f"`{shown}` ended with status {done.returncode}", remedy=remedy, output=output)
    return done


def _communicate(
    words: Sequence[str], environ: Mapping[str, str] | None, cwd: Path | None, stdin: bytes, timeout: float
) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a session of its own, which is ended as a whole where it does not end in time, or where this
    process is gone before it."""
    with (
        subprocess.Popen(
            words,
            env=None if environ is None else dict(environ),
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as process,
        _ends_with_us(process.pid),
    ):
        try:
            output, errors = process.communicate(stdin, timeout=timeout)
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what it started in turn, too
            raise
    return subprocess.CompletedProcess(words, process.returncode, output, errors)


@contextmanager
def _ends_with_us(group: int) -> Iterator[None]:
    """End a process group where this process ends within the `with` in whatever way, kill -9 included.

    A shell waits for the other end of a pipe to close. PR_SET_PDEATHSIG would not do: it is Linux's alone, and not
    handed on, so that `docker` would die and leave the `docker-compose` that it had started."""
    watch = subprocess.Popen(
        [_SHELL, "-c", _WATCH, str(group)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        with suppress(BrokenPipeError):  # somebody ended it
            watch.communicate(b"\n")


def on_socket(
    command: Sequence[str | Path], pipe: socket.socket, said: IO[bytes], *, environ: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start a command that speaks over a socket, in a session of its own; its errors go to the file `said`.

    Whoever starts it ends it. Raises CommandMissing."""
    words = [str(word) for word in command]
    handle = pipe.fileno()
    try:
        return subprocess.Popen(
            words, env=dict(environ), stdin=handle, stdout=handle, stderr=said, start_new_session=True
        )
    except FileNotFoundError as error:
        raise CommandMissing(
            f"the program `{words[0]}` is not on PATH", remedy=f"install {words[0]}"
        ) from error


def hand_over(
    command: Sequence[str | Path], *, remedy: str, environ: Mapping[str, str], cwd: Path | None = None
) -> int:
    """Run a command on this terminal until it ends, and return its status: for what a person looks at.

    Ctrl-C ends the command, and is no error. Raises CommandMissing."""
    try:
        with subprocess.Popen([str(word) for word in command], env=dict(environ), cwd=cwd) as process:
            try:
                return process.wait()
            except KeyboardInterrupt:
                process.terminate()
                process.wait()
                return 0
    except FileNotFoundError as error:
        raise CommandMissing(f"the program `{command[0]}` is not there", remedy=remedy) from error


def _text(output: bytes | None) -> str:
    return (output or b"")[-_TAIL:].decode("utf-8", "replace")


def masked(text: str, secrets: Sequence[str]) -> str:
    """The text without the values of secrets."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return text
