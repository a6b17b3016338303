"""A save as it comes over the wire, in every form that servers send it, and cut off in each place.

What a server sends is taken from Redis' own replication.c (7.0): `$<size>` for a save on disk, `$EOF:<40 bytes>` for
one without, empty lines before it while it is made.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops_pipelines.adapters import _redis_sync
from ops_pipelines.errors import Refused, Unreachable

SAVE = b"REDIS0011" + bytes(range(256)) * 5000
MARK = b"0123456789abcdef0123456789abcdef01234567"


@contextmanager
def server(pieces: Sequence[bytes], replies: Sequence[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """Answers each command in turn, then sends the pieces and closes. Gives its port and what it was sent."""
    listener = socket.create_server(("127.0.0.1", 0))
    told: list[bytes] = []

    def serve() -> None:
        line, _ = listener.accept()
        with line:
            for reply in [*replies, b""]:
                told.append(line.recv(4096))
                if reply.startswith(b"-"):
                    line.sendall(reply)
                    if b"ERR" not in reply:
                        return
                elif reply:
                    line.sendall(reply)
            for piece in pieces:
                line.sendall(piece)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1], told
    thread.join(10)
    listener.close()


def take(
    path: Path, pieces: Sequence[bytes], replies: Sequence[bytes] = (b"+OK\r\n",) * 3,
    progress: Callable[[int], None] = lambda done: None,
) -> list[bytes]:  # fmt: skip
    with server(pieces, replies) as (port, told):
        _redis_sync.save("127.0.0.1", port, credentials=["user", "secret"], tls=None, at="Redis", path=path,
                         progress=progress)  # fmt: skip
    return told


WAYS = {
    "a size": [b"$%d\r\n" % len(SAVE), SAVE],
    "a mark": [b"$EOF:" + MARK + b"\r\n", SAVE, MARK],
    "empty lines first": [b"\n", b"\r\n", b"\n$%d\r\n" % len(SAVE), SAVE],
    "commands after it": [b"$%d\r\n" % len(SAVE), SAVE, b"*1\r\n$4\r\nPING\r\n"],
    "the mark in pieces": [b"$EOF:" + MARK + b"\r\n", SAVE + MARK[:7], MARK[7:]],
    "byte by byte at the end": [b"$EOF:" + MARK + b"\r\n", SAVE, *(bytes([one]) for one in MARK)],
    "a half mark inside": [b"$EOF:" + MARK + b"\r\n", SAVE[:500], MARK[:30], SAVE[500:], MARK],
}


@pytest.mark.parametrize("way", WAYS)
def test_every_form_of_a_save(tmp_path: Path, way: str) -> None:
    seen: list[int] = []
    told = take(tmp_path / "save", WAYS[way], progress=seen.append)
    whole = SAVE[:500] + MARK[:30] + SAVE[500:] if way == "a half mark inside" else SAVE
    assert (tmp_path / "save").read_bytes() == whole
    assert told[0] == b"*3\r\n$4\r\nAUTH\r\n$4\r\nuser\r\n$6\r\nsecret\r\n"
    assert told[-1] == b"*1\r\n$4\r\nSYNC\r\n"
    assert seen[-1] == len(whole)


@pytest.mark.parametrize("way", ["a size", "a mark"])
@pytest.mark.parametrize("short", [1, 39, 40, 41, 1000])
def test_a_save_that_is_cut_off_is_none(tmp_path: Path, way: str, short: int) -> None:
    head, *rest = WAYS[way]
    content = b"".join(rest)
    with pytest.raises(Unreachable, match="stopped after"):
        take(tmp_path / "save", [head, content[:-short]])


def test_an_old_server_knows_no_options(tmp_path: Path) -> None:
    replies = (b"+OK\r\n", b"+OK\r\n", b"-ERR Unrecognized REPLCONF option: rdb-only\r\n")
    take(tmp_path / "save", WAYS["a size"], replies)
    assert (tmp_path / "save").read_bytes() == SAVE


@pytest.mark.parametrize(
    ("replies", "pieces", "error", "words"),
    [
        ((b"-WRONGPASS invalid username-password pair\r\n",), [], Refused, "WRONGPASS"),
        ((b"+OK\r\n", b"-NOPERM no permissions to run 'replconf'\r\n"), [], Refused, "NOPERM"),
        (
            (b"+OK\r\n",) * 3,
            [b"-NOMASTERLINK Can't SYNC while not connected with my master\r\n"],
            Refused,
            "NOMASTER",
        ),
        ((b"+OK\r\n",) * 3, [], Unreachable, "closed the connection"),
        ((b"+OK\r\n",) * 3, [b"$EOF:short\r\n"], Unreachable, "no save"),
        ((b"+OK\r\n",) * 3, [b"$many\r\n"], Unreachable, "does not answer"),
    ],
)
def test_a_server_that_gives_none(
    tmp_path: Path, replies: Sequence[bytes], pieces: Sequence[bytes], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        take(tmp_path / "save", pieces, replies)
    assert "secret" not in str(caught.value)
