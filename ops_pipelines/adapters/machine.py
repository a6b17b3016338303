"""What of this machine is free: ports, disk, memory, graphics cards; and who holds a port."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import random
import shutil
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from ops_pipelines.errors import OpsError
from ops_pipelines.policy.machine import Card, Disk, Holder, Memory, PortState

_ASIDE = (20_000, 29_000)


@dataclass(frozen=True)
class LocalMachine:
    """The machine that this process runs on. Keeps to the engines' Protocol Machine."""

    search_path: str
    """PATH in which programs are looked for, unless a program's own environment names another."""

    def port_state(self, port: int) -> PortState:
        """Whether a program could listen on 127.0.0.1:`port` now."""
        return port_state(port)

    def holders(self, port: int) -> tuple[Holder, ...] | None:
        """Processes that listen on a port; None where this user may not see them."""
        return holders(port)

    def tree(self, pid: int) -> frozenset[int]:
        """A process with all that descends from it; empty where it is gone."""
        try:
            process = psutil.Process(pid)
            return frozenset({pid, *(child.pid for child in process.children(recursive=True))})
        except psutil.Error:
            return frozenset()

    def find_program(self, word: str, environment: Mapping[str, str], folder: Path) -> Path | None:
        """The file that a command's first word means in a folder, or None where there is no such program."""
        if os.sep in word:
            path = folder / word
            return path if path.is_file() and os.access(path, os.X_OK) else None
        found = shutil.which(word, path=environment.get("PATH", self.search_path))
        return Path(found) if found else None

    def disk(self, path: Path) -> Disk | None:
        """The file system that a path lies on, or would lie on; None where it cannot be looked at."""
        place = next((part for part in (path, *path.parents) if part.exists()), Path("/"))
        try:
            facts = os.statvfs(place)
            return Disk(place.stat().st_dev, facts.f_bavail * facts.f_frsize, str(place))
        except OSError:
            return None

    def used(self, path: Path) -> int:
        """Bytes of the files below a folder; 0 where it is not there yet."""
        total = 0
        for folder, _, names in os.walk(path):
            for name in names:
                with contextlib.suppress(OSError):
                    total += Path(folder, name).lstat().st_size
        return total

    def writable(self, path: Path) -> bool:
        """Whether this user may make files in a folder that is there."""
        return path.is_dir() and os.access(path, os.W_OK | os.X_OK)

    def is_folder(self, path: Path) -> bool:
        """Whether a folder is there."""
        return path.is_dir()

    def memory(self) -> Memory | None:
        """Memory in bytes, bounded by the control group where there is one; None where it cannot be read."""
        try:
            facts = psutil.virtual_memory()
        except (OSError, RuntimeError):
            return None
        group = _group_memory()
        if group is None:
            return Memory(facts.total, facts.available)
        limit, current = group
        return Memory(min(facts.total, limit), min(facts.available, max(0, limit - current)))

    def cards(self) -> tuple[Card, ...] | str:
        """NVIDIA cards by index, or the reason why they are unknown."""
        return cards()


def port_state(port: int, host: str = "127.0.0.1") -> PortState:
    """Whether a program could listen on a port now: `free`, `taken`, `forbidden` or `unknown`."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a connection that is just closing does not make a port taken, a listener does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return "taken"
            return "forbidden" if isinstance(error, PermissionError) else "unknown"
    return "free"


def choose_port(preferred: int, *, taken: Collection[int] = (), tries: int = 200) -> int:
    """`preferred`, or the next port above it that is free and not among `taken`. Raises OpsError for none."""
    for port in range(preferred, min(preferred + tries, 65536)):
        if port not in taken and port_state(port) == "free":
            return port
    raise OpsError(
        f"none of the ports {preferred} to {preferred + tries - 1} is free",
        remedy="stop what holds them (`ss -ltnp` shows it), or name other ports",
    )


def port_aside(taken: list[int]) -> int:
    """A free port for what runs for a while beside a stack; it is added to `taken`. Raises OpsError for none.

    It begins anywhere in a range that no usual service has, so that two at once seldom meet."""
    taken.append(choose_port(random.randint(*_ASIDE), taken=taken))  # noqa: S311 - any will do
    return taken[-1]


def holders(port: int) -> tuple[Holder, ...] | None:
    """Processes that listen on a TCP port; None where this user may not see them."""
    try:
        listening = [
            item
            for item in psutil.net_connections(kind="tcp")
            if item.status == psutil.CONN_LISTEN and item.laddr and item.laddr.port == port
        ]
    except (psutil.AccessDenied, OSError):
        return None
    if any(item.pid is None for item in listening):
        return None
    return tuple(_holder(pid) for pid in sorted({item.pid for item in listening if item.pid is not None}))


def cards() -> tuple[Card, ...] | str:
    """NVIDIA cards by index, or the reason why they are unknown."""
    try:
        pynvml = importlib.import_module("pynvml")
    except ImportError:
        return "nvidia-ml-py is not installed"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return f"NVML cannot be asked ({error})"
    try:
        found = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            name = pynvml.nvmlDeviceGetName(handle)
            words = name.decode() if isinstance(name, bytes) else str(name)
            found.append(Card(index, words, int(memory.total), int(memory.free)))
        return tuple(found)
    except pynvml.NVMLError as error:
        return f"NVML cannot be asked ({error})"
    finally:
        pynvml.nvmlShutdown()


def _holder(pid: int) -> Holder:
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            # The program alone: arguments may hold what is secret.
            return Holder(pid, process.name(), process.username())
    except psutil.Error:
        return Holder(pid, "a process that just ended", "")


@dataclass(frozen=True)
class _Group:
    limit: Path
    current: Path
    stat: Path
    cache: str
    """What the kernel gives back at once when memory is asked for."""


_V2, _V1 = Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/memory")
_GROUPS = (
    _Group(_V2 / "memory.max", _V2 / "memory.current", _V2 / "memory.stat", "inactive_file"),
    _Group(_V1 / "memory.limit_in_bytes", _V1 / "memory.usage_in_bytes", _V1 / "memory.stat", "total_inactive_file"),
)  # fmt: skip


def _group_memory() -> tuple[int, int] | None:
    """(limit, use) of the control group that a container runs in; None without one."""
    for group in _GROUPS:
        try:
            limit, current = int(group.limit.read_text()), int(group.current.read_text())
            stat = dict(line.split() for line in group.stat.read_text().splitlines())
            return limit, max(0, current - int(stat.get(group.cache, 0)))
        except (OSError, ValueError):
            continue
    return None
