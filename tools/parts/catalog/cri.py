"""What a real node of a cluster needs beside its agents: containerd and runc, plugins of its network, busybox."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tools.parts.part import Part


def _folders() -> Iterable[Path]:
    return (Path("/usr/lib/cni"), Path("/opt/cni/bin"))


PARTS = (
    Part(
        name="cri",
        version="1",
        binaries=("containerd", "ctr", "runc"),
        how_to_get="make parts (Debian: apt-get install containerd runc)",
        debian=("containerd", "runc", "iptables", "iproute2", "busybox-static"),
    ),
    Part(
        name="cni",
        version="1",
        binaries=("bridge", "host-local", "loopback", "portmap"),
        how_to_get="make parts (Debian: apt-get install containernetworking-plugins)",
        debian=("containernetworking-plugins",),
        folders=_folders,
    ),
)
