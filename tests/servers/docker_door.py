"""A door before a Docker Engine: it sees every change that a client asks for, and may end the client at one of them."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable
from pathlib import Path

_CHANGE = re.compile(rb"^(POST|DELETE) (\S+) HTTP/1\.1\r\n")
_PIECE = 65536


class Door:
    """A Unix socket that hands everything on to an engine's.

    `at` is the number of the change (a POST or DELETE, from 1) at which `end` is called once: before the engine hears
    of it, or after it was done and before the client hears of that."""

    def __init__(self, path: Path, engine: Path) -> None:
        self.address = f"unix://{path}"
        self.changes: list[str] = []
        self._engine, self._lock = engine, threading.Lock()
        self._at, self._after, self._end = 0, False, _nothing
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen(64)
        threading.Thread(target=self._open, daemon=True).start()

    def arm(self, at: int, end: Callable[[], None], *, after: bool) -> None:
        """From now on count anew; 0 never ends anything."""
        with self._lock:
            self.changes, self._at, self._end, self._after = [], at, end, after

    def close(self) -> None:
        """Let nobody in any more."""
        self._socket.close()

    def _open(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, socket.socket(socket.AF_UNIX) as engine:
            engine.connect(str(self._engine))
            # Whether what the engine says next is the answer after which the client is to end.
            last = threading.Event()
            threading.Thread(target=self._hand_back, args=(engine, client, last), daemon=True).start()
            while piece := client.recv(_PIECE):
                if (change := _CHANGE.match(piece)) and self._is_the_one(change[2].decode()):
                    if not self._after:
                        self._end()
                        return
                    last.set()
                engine.sendall(piece)

    def _hand_back(self, engine: socket.socket, client: socket.socket, last: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while piece := engine.recv(_PIECE):
                if last.is_set():
                    self._end()
                    return
                client.sendall(piece)
            client.shutdown(socket.SHUT_WR)

    def _is_the_one(self, what: str) -> bool:
        with self._lock:
            self.changes.append(what)
            return len(self.changes) == self._at


def _nothing() -> None:
    """End nobody."""
