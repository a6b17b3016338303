"""A real OpenSSH server on a port of its own, which lets one key in and has the session's Docker Engine behind it."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.parts import require
from tests.servers.docker import Docker
from tests.waiting import free_port, until


@dataclass(frozen=True)
class Sshd:
    """A running server."""

    port: int
    identity: Path
    """A key that is let in."""
    stranger: Path
    """One that is not."""
    known_hosts: Path
    """With the server's own key."""

    @property
    def host(self) -> str:
        """As in DOCKER_HOST."""
        return f"ssh://root@127.0.0.1:{self.port}"


@pytest.fixture(scope="module")
def sshd(docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """It runs as root, and a command that it starts finds the session's engine."""
    found = require("ssh")
    if os.geteuid() != 0:
        pytest.skip("sshd wants to be root")
    folder, port = tmp_path_factory.mktemp("sshd"), free_port()
    for name in ("host", "mine", "stranger"):
        words = [found["ssh-keygen"], "-q", "-t", "ed25519", "-N", "", "-f", folder / name]
        subprocess.run(words, check=True, timeout=60)
    host_key = " ".join((folder / "host.pub").read_text().split()[:2])
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}\n")
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\n"
        f"HostKey {folder / 'host'}\n"
        f"AuthorizedKeysFile {folder / 'mine.pub'}\n"
        f"SetEnv DOCKER_HOST=unix://{docker.socket} PATH={os.environ['PATH']}\n"
        "PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)  # where it locks itself in before anybody is known
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [found.path, "-D", "-e", "-f", folder / "sshd_config"], stdout=log, stderr=log
        )
    try:
        until(lambda: _open(port), what="sshd to listen", seconds=20)
        yield Sshd(port, folder / "mine", folder / "stranger", folder / "known_hosts")
    finally:
        server.terminate()
        server.wait(20)


def _open(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
