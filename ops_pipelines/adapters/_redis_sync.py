"""A save of a Redis server, taken as a replica takes it: over the network, of one moment, streamed to a file.

`REPLCONF rdb-only` (7.0 and later) asks for the save alone; older servers go on with commands, and are left.
Protocol: https://redis.io/docs/latest/operate/oss_and_stack/management/replication/ and redis-cli's --rdb.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable, Sequence
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

from ops_pipelines.errors import Refused, Unreachable

_PIECE = 1 << 20
_MARK = 40
"""Bytes of the mark that ends a save whose size the server does not know beforehand."""
_SECONDS = 60.0
"""Longest silence; while a server makes its save it sends an empty line now and then."""


def save(
    host: str,
    port: int,
    *,
    credentials: Sequence[str],
    tls: ssl.SSLContext | None,
    at: str,
    path: Path,
    progress: Callable[[int], None],
) -> None:
    """Write the server's save to `path`. `credentials` are the words behind AUTH, `tls` proves the server
    (None: in clear), `at` names it.

    Raises Unreachable where it is gone before the end, Refused where it will not give one."""
    try:
        with _connected(host, port, tls) as line, line.makefile("rb", buffering=_PIECE) as stream:
            answers = cast("BufferedReader", stream)
            if credentials:
                _ask(line, answers, at, "AUTH", *credentials)
            # Older servers know neither, and then name a size and go on.
            for option in (("capa", "eof"), ("rdb-only", "1")):
                _ask(line, answers, at, "REPLCONF", *option, may_fail=True)
            line.sendall(_command("SYNC"))
            head = _line(answers, at)
            if not head.startswith(b"$"):
                raise _refused(at, head)
            with path.open("wb") as file:
                if head.startswith(b"$EOF:"):
                    _until_mark(answers, file, head[5:], at, progress)
                else:
                    _sized(answers, file, int(head[1:]), at, progress)
                file.flush()
                os.fsync(file.fileno())
    except ssl.SSLCertVerificationError as error:
        raise untrusted(at, str(error)) from error
    except (OSError, ValueError) as error:
        raise _gone(at, error) from error


def _connected(host: str, port: int, tls: ssl.SSLContext | None) -> socket.socket:
    line = socket.create_connection((host, port), timeout=10)
    line.settimeout(_SECONDS)
    if tls is None:
        return line
    try:
        return tls.wrap_socket(line, server_hostname=host)
    except BaseException:
        line.close()
        raise


def _command(*words: str) -> bytes:
    parts = [f"*{len(words)}\r\n".encode()]
    for word in words:
        content = word.encode()
        parts += [f"${len(content)}\r\n".encode(), content, b"\r\n"]
    return b"".join(parts)


def _ask(line: socket.socket, answers: BufferedReader, at: str, *words: str, may_fail: bool = False) -> None:
    line.sendall(_command(*words))
    answer = _line(answers, at)
    if not answer.startswith(b"+") and not (may_fail and not _no_right(answer)):
        raise _refused(at, answer)


def _line(answers: BufferedReader, at: str) -> bytes:
    """The next line that is not empty."""
    while (line := answers.readline(4096)) in (b"\n", b"\r\n"):
        pass
    if not line.endswith(b"\n"):
        raise _gone(at, "it closed the connection")
    return line.strip()


def _sized(
    answers: BufferedReader, file: BinaryIO, size: int, at: str, progress: Callable[[int], None]
) -> None:
    done = 0
    while done < size:
        piece = answers.read(min(_PIECE, size - done))
        if not piece:
            raise _gone(at, f"it stopped after {done} of {size} bytes")
        file.write(piece)
        done += len(piece)
        progress(done)


def _until_mark(
    answers: BufferedReader, file: BinaryIO, mark: bytes, at: str, progress: Callable[[int], None]
) -> None:
    """Content ends where the mark stands that was named before it."""
    if len(mark) != _MARK:
        raise _gone(at, "what it sends is no save")
    done, tail = 0, b""
    while tail != mark:
        piece = answers.read1(_PIECE)
        if not piece:
            raise _gone(at, f"it stopped after {done} bytes, before the end of its save")
        piece = tail + piece
        file.write(piece[:-_MARK])
        tail = piece[-_MARK:]
        done += max(0, len(piece) - _MARK)
        progress(done)


def _no_right(answer: bytes) -> bool:
    return answer.startswith((b"-NOPERM", b"-NOAUTH", b"-WRONGPASS"))


def _refused(at: str, answer: bytes) -> Refused:
    words = answer.decode("utf-8", "replace")[:300]
    remedy = "mend what it names, and try again"
    if _no_right(answer):
        remedy = "check user and password; the user needs the rights +sync +psync +replconf"
    return Refused(f"{at} gives no save: {words}", remedy=remedy)


def untrusted(at: str, why: str) -> Refused:
    """A server whose certificate proves nothing here."""
    return Refused(
        f"{at} shows a certificate that is not trusted here: {why}",
        remedy="give its authority's certificate as the database's `ca_bundle`, and the name that it is made out to "
        "as the component's address",
    )


def _gone(at: str, why: object) -> Unreachable:
    return Unreachable(
        f"{at} does not answer (to save): {why}",
        remedy="look whether the server runs and can be reached from here",
    )
