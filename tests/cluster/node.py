"""One real node: kubelet, containerd, kube-proxy and names in namespaces of their own, on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from tests.cluster.identities import NODE
from tests.cluster.plane import ControlPlane
from tests.servers._child import die_with_parent
from tests.waiting import until
from tools.images.base import BUSYBOX
from tools.images.image import Image, write_archive

_SCRIPT = Path(__file__).with_name("node.sh")
_PAUSE = "docker.io/ops-test/pause:1"
IMAGE = "docker.io/ops-test/busybox:1"
"""Busybox, which every pod may run."""
_SPACES = (
    "--mount",
    "--net",
    "--pid",
    "--fork",
    "--mount-proc",
    "--propagation=private",
    "--kill-child=SIGKILL",
)


class RealNode:
    """The node `real` of a control plane. Everything that it starts ends with it, as it is PID 1 to all of it."""

    def __init__(self, plane: ControlPlane, programs: Mapping[str, Path]) -> None:
        self._plane, self._programs = plane, programs
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = plane.folder / "node"

    @property
    def about(self) -> dict[str, str]:
        """Its name, and containerd's socket."""
        return {"node": NODE, "containerd": str(self._plane.folder / "containerd.sock")}

    def start(self) -> None:
        """Start it and wait until it is ready for pods."""
        plane, net = self._plane, self._plane.net
        self._write()
        programs = ("containerd", "ctr", "kubelet", "kube-proxy")
        environ = {
            **{name.upper().replace("-", "_"): str(self._programs[name]) for name in programs},
            "PATH": os.environ["PATH"],
            "F": str(plane.folder),
            "NAME": NODE,
            "PYTHON": sys.executable,
            "MACHINE": net.machine,
            "NODE": net.node,
            "BRIDGE": net.bridge,
        }
        with (plane.folder / "node.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["unshare", *_SPACES, "sh", _SCRIPT],
                cwd=_SCRIPT.parents[2],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - it takes no lock
            )
        until(self._first, what="the node's first process", seconds=10)
        self._link()
        until(self._ready, what="the node to be ready", seconds=60)

    def end(self) -> None:
        """Kill it; the kernel takes its namespaces back."""
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(30)
        self._process = None

    def _first(self) -> int | None:
        """The number of its PID 1 here."""
        assert self._process is not None
        assert self._process.poll() is None, self._said()
        children = psutil.Process(self._process.pid).children()
        return children[0].pid if children else None

    def _link(self) -> None:
        """A link from this machine to it: all its addresses are reached through it, Services too."""
        net, first = self._plane.net, self._first()
        _ip("link", "add", net.name, "type", "veth", "peer", "name", "eth0", "netns", str(first))
        _ip("address", "add", f"{net.machine}/24", "dev", net.name)
        _ip("link", "set", net.name, "up")
        _ip("route", "add", net.whole, "via", net.node, "dev", net.name, "onlink")

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._said()
        node = self._plane.get(f"/api/v1/nodes/{NODE}")
        return node is not None and _is_ready(node)

    def _said(self) -> str:
        logs = ("node.log", "kubelet.log", "containerd.log")
        found = [self._plane.folder / name for name in logs]
        return "\n".join(one.read_text(errors="replace")[-1500:] for one in found if one.exists())

    def _write(self) -> None:
        """The configuration of all its parts."""
        folder, plane, net = self._folder, self._plane, self._plane.net
        folder.mkdir()
        for controller in Path("/sys/fs/cgroup").iterdir():
            if (controller / "cgroup.procs").exists():
                (controller / net.name).mkdir(exist_ok=True)
        (folder / "resolv.conf").write_text("")
        (folder / "cni").mkdir()
        self._json("cni/net.conflist", _network(net.pods, net.bridge, str(plane.folder / "leases")))
        (folder / "containerd.toml").write_text(
            _CONTAINERD.format(folder=plane.folder, cni=self._programs["bridge"].parent, pause=_PAUSE)
        )
        _images(folder / "images.tar")
        self._json(
            "kubelet.yaml",
            {
                "apiVersion": "kubelet.config.k8s.io/v1beta1",
                "kind": "KubeletConfiguration",
                "containerRuntimeEndpoint": f"unix://{plane.folder}/containerd.sock",
                "cgroupDriver": "cgroupfs",
                "cgroupRoot": f"/{net.name}",
                "enforceNodeAllocatable": [],
                "failSwapOn": False,
                "failCgroupV1": False,
                "makeIPTablesUtilChains": False,
                "authentication": {
                    "anonymous": {"enabled": False},
                    "webhook": {"enabled": False},
                    "x509": {"clientCAFile": plane.who["ca.crt"]},
                },
                "authorization": {"mode": "AlwaysAllow"},  # only the API server has a certificate
                "clusterDNS": [net.bridge],
                "clusterDomain": "cluster.local",
                "resolvConf": str(folder / "resolv.conf"),
                "imageGCHighThresholdPercent": 100,  # no registry has them
                "evictionHard": {
                    "memory.available": "100Mi",
                    "nodefs.available": "1%",
                    "imagefs.available": "1%",
                },
                "syncFrequency": "10s",
            },
        )
        self._json(
            "proxy.yaml",
            {
                "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
                "kind": "KubeProxyConfiguration",
                "mode": "iptables",
                "hostnameOverride": NODE,
                "clusterCIDR": net.pods,
                "clientConnection": {"kubeconfig": str(plane.who.kubeconfig("proxy"))},
                "conntrack": {"maxPerCore": 0},  # the machine's, not ours
                # An answer from a pod of the same bridge would else not pass where its address is put back.
                "iptables": {"masqueradeAll": True, "minSyncPeriod": "0s"},
            },
        )

    def _json(self, name: str, value: object) -> None:
        (self._folder / name).write_text(json.dumps(value))


def _is_ready(node: Mapping[str, Any]) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


def _network(pods: str, bridge: str, leases: str) -> object:
    addresses = {
        "type": "host-local",
        "dataDir": leases,
        "ranges": [[{"subnet": pods, "gateway": bridge}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    return {
        "cniVersion": "0.4.0",
        "name": "ops",
        "plugins": [
            {"type": "bridge", "bridge": "cni0", "isGateway": True, "hairpinMode": True, "ipam": addresses},
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def _images(path: Path) -> None:
    """The image that holds a pod's namespaces, which is also one that tests may run."""
    BUSYBOX.make()
    image = Image(
        names=(_PAUSE, IMAGE),
        layers=(BUSYBOX,),
        real="busybox",
        entrypoint=("/usr/bin/sh", "-c", "trap 'exit 0' TERM INT; while :; do sleep 3600 & wait; done"),
    )
    with path.open("wb") as file:
        write_archive([image], file)


_CONTAINERD = """\
version = 2
root = "{folder}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
address = "{folder}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
# Who may not raise a score of the kernel's, as in a container, could start no pod.
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{cni}"
conf_dir = "{folder}/node/cni"
"""
