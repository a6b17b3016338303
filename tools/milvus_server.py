"""Run the real Milvus of `tools/parts` for tests and benchmarks, where nobody else can reach it.

It listens on every address and has no password, so it runs in a network namespace of its own, joined to this
one by a pair of virtual links. That takes root, `unshare`, `nsenter` and `ip` (util-linux, iproute2).
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tools.parts import Found

_SERVE = """
import sys
from milvus import MilvusServer, MilvusServerConfig
config = MilvusServerConfig(data_dir=sys.argv[1], proxy_port=19530, template=sys.argv[2])
config.glog_conf_file = sys.argv[3]
server = MilvusServer(config)
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


@dataclass(frozen=True)
class Storage:
    """A bucket of a store on this machine (127.0.0.1), in which the server keeps its data."""

    port: int
    access_key: str
    secret_key: str
    bucket: str


@contextmanager
def milvus_server(found: Found, data: Path, storage: Storage | None = None) -> Iterator[str]:
    """Start it with a data folder, give its address, and end it. It also ends when this process does."""
    [folder] = found["python"].parents[1].glob("lib/python*/site-packages/milvus/data")
    text, template = (folder / "config.yaml.template").read_text(), data.with_name(f"{data.name}.template")
    command = ["unshare", "-n", str(found["python"]), "-c", _SERVE, str(data), str(template),
               str(folder / "glog.conf")]  # fmt: skip
    with ExitStack() as open_:
        process = open_.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        try:
            ours, theirs = _joined(process.pid)
            if storage is not None:
                text = _stored(text, storage, ours, open_.enter_context(_relay(ours, storage.port)))
            template.touch(mode=0o600)
            template.write_text(text)
            print("go", file=process.stdin, flush=True)
            if process.stdout is None or process.stdout.readline().strip() != "ready":
                raise RuntimeError(f"Milvus did not start; its log is in {data / 'logs'}")
            yield f"http://{theirs}:{_PORT}"
        finally:
            process.communicate(timeout=60)  # the end of its input ends it


def _stored(template: str, storage: Storage, host: str, port: int) -> str:
    """The server's template, made to keep its data in a bucket."""
    wanted = {
        "storageType: local": "storageType: minio",
        "address: localhost # Address of MinIO/S3": f"address: {host}",
        "port: 9000 # Port of MinIO/S3": f"port: {port}",
        "accessKeyID: minioadmin": f"accessKeyID: {storage.access_key}",
        "secretAccessKey: minioadmin": f"secretAccessKey: {storage.secret_key}",
        "bucketName: a-bucket": f"bucketName: {storage.bucket}",
    }
    for old, new in wanted.items():
        if template.count(old) != 1:
            raise RuntimeError(f"the server's template does not say {old!r} once")
        template = template.replace(old, new)
    return template


@contextmanager
def _relay(host: str, port: int) -> Iterator[int]:
    """A port of `host` that leads to one of 127.0.0.1: a server in another namespace cannot reach that."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", port)) as there:
                back = threading.Thread(target=_pass_on, args=(there, self.request), daemon=True)
                back.start()
                _pass_on(self.request, there)
                back.join()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 128

    with Server((host, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while content := source.recv(1 << 18):
            sink.sendall(content)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _joined(process: int) -> tuple[str, str]:
    """Join a process's network namespace to this one: the addresses of this side and of its side."""
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
    return ours, theirs


def _wait_for_namespace(process: int) -> None:
    """Until `unshare` has made it: before that the process is in ours."""
    mine = os.readlink("/proc/self/ns/net")
    while os.readlink(f"/proc/{process}/ns/net") == mine:
        os.sched_yield()
