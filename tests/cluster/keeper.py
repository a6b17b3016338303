"""`python -m tests.cluster.keeper SOCKET`: keeps one cluster for as long as a test process is connected to it.

The processes of one run of the tests share it, and end at different times, killed or not: a connection tells it all.
A line `node` on a connection starts the real node. Each answer is one line of JSON.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import sys
from contextlib import suppress
from pathlib import Path

from tests.cluster.node import RealNode
from tests.cluster.plane import ControlPlane
from tests.cluster.programs import control_plane, real_node
from tests.cluster.volumes import Provisioner

_FIRST = 60.0
"""Seconds in which whoever started it must have come."""


class Keeper:
    """A cluster, and those who use it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(str(path))
        self._door.listen(64)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._door, selectors.EVENT_READ)
        self._users: set[socket.socket] = set()
        self._plane = ControlPlane(control_plane())
        self._volumes = Provisioner(self._plane)
        self._node: RealNode | None = None

    def run(self) -> None:
        """Start it, serve, and end it with the last user."""
        try:
            os.close(1)  # whoever started it waits for this: it may come
            self._plane.start()
            self._volumes.start()
            while events := self._selector.select(None if self._users else _FIRST):
                for key, _ in events:
                    if key.fileobj is self._door:
                        self._let_in()
                    else:
                        self._hear(key.data)
                if not self._users:
                    return
        finally:
            self._path.unlink(missing_ok=True)  # first, so that the next one can be where this was
            self._door.close()
            if self._node:
                self._node.end()
            self._volumes.end()
            self._plane.end()

    def _let_in(self) -> None:
        user, _ = self._door.accept()
        self._users.add(user)
        self._selector.register(user, selectors.EVENT_READ, user)
        self._say(user, {"kubeconfig": str(self._plane.kubeconfig), "folder": str(self._plane.folder)})

    def _hear(self, user: socket.socket) -> None:
        try:
            asked = user.recv(4096)
        except OSError:
            asked = b""
        if not asked:
            self._selector.unregister(user)
            self._users.discard(user)
            user.close()
            return
        try:
            self._say(user, self._real_node())
        except Exception as error:  # noqa: BLE001  whoever asked is to fail, and not all the others
            self._say(user, {"error": f"{type(error).__name__}: {error}"})

    def _real_node(self) -> dict[str, str]:
        if self._node is None:
            node = RealNode(self._plane, real_node())
            try:
                node.start()
            except BaseException:
                node.end()
                raise
            self._node = node
        return self._node.about

    def _say(self, user: socket.socket, what: dict[str, str]) -> None:
        with suppress(OSError):
            user.sendall(json.dumps(what).encode() + b"\n")


if __name__ == "__main__":
    path = Path(sys.argv[1])
    Keeper(path).run()
    for suffix in (".log", ".lock"):  # of one that failed, they are read by who started it
        path.with_suffix(suffix).unlink(missing_ok=True)
