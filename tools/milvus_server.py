"""Run the real Milvus of `tools/parts` for tests and benchmarks, where nobody else can reach it.

It listens on every address and has no password, so it runs in a network namespace of its own, joined to this
one by a pair of virtual links. That takes root, `unshare`, `nsenter` and `ip` (util-linux, iproute2).
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.parts import Found

_SERVE = """
import sys
from milvus import MilvusServer, MilvusServerConfig
server = MilvusServer(MilvusServerConfig(data_dir=sys.argv[1], proxy_port=19530))
sys.stdin.readline()
server.start()
print("ready", flush=True)
sys.stdin.read()
server.stop()
"""
_PORT = 19530


def cannot() -> str:
    """Why it cannot run here, or nothing."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a network namespace takes root"
    missing = [word for word in ("unshare", "nsenter", "ip") if shutil.which(word) is None]
    return f"{', '.join(missing)} not found (Debian: util-linux, iproute2)" if missing else ""


@contextmanager
def milvus_server(found: Found, data: Path) -> Iterator[str]:
    """Start it with a data folder, give its address, and end it. It also ends when this process does."""
    command = ["unshare", "-n", str(found["python"]), "-c", _SERVE, str(data)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            address = _joined(process.pid)
            print("go", file=process.stdin, flush=True)
            if process.stdout is None or process.stdout.readline().strip() != "ready":
                raise RuntimeError(f"Milvus did not start; its log is in {data / 'logs'}")
            yield f"http://{address}:{_PORT}"
        finally:
            process.communicate(timeout=60)  # the end of its input ends it


def _joined(process: int) -> str:
    """Join a process's network namespace to this one, and say what address it has."""
    number = secrets.randbelow(1 << 14)
    subnet = f"10.213.{number >> 6}.{(number & 63) * 4}"
    base = subnet.rsplit(".", 1)
    ours, theirs = (f"{base[0]}.{int(base[1]) + place}" for place in (1, 2))
    here, there = f"opsm{number:x}a", f"opsm{number:x}b"
    inside = ["nsenter", "-t", str(process), "-n"]
    _wait_for_namespace(process)
    for command in (
        ["ip", "link", "add", here, "type", "veth", "peer", "name", there, "netns", str(process)],
        ["ip", "addr", "add", f"{ours}/30", "dev", here],
        ["ip", "link", "set", here, "up"],
        [*inside, "ip", "link", "set", "lo", "up"],
        [*inside, "ip", "addr", "add", f"{theirs}/30", "dev", there],
        [*inside, "ip", "link", "set", there, "up"],
    ):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return theirs


def _wait_for_namespace(process: int) -> None:
    """Until `unshare` has made it: before that the process is in ours."""
    mine = os.readlink("/proc/self/ns/net")
    while os.readlink(f"/proc/{process}/ns/net") == mine:
        os.sched_yield()
