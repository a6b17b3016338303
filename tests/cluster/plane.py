"""A control plane of real parts: etcd, API server, controllers, scheduler; and kwok, whose nodes only seem to run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.cluster import identities
from tests.cluster.addresses import Net, take
from tests.servers._child import die_with_parent
from tests.waiting import free_ports, until

_ORDER = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok")
_ADMISSION = ("NodeRestriction", "PodNodeSelector")
_READY = 60.0


class ControlPlane:
    """One control plane in a folder of its own; its processes end with this one, kill -9 too.

    A test that stops parts of it makes its own, and leaves that of the session alone."""

    def __init__(self, programs: Mapping[str, Path]) -> None:
        self.net: Net = take()
        self.folder = Path(tempfile.gettempdir()) / self.net.name
        clear(self.net)
        self.folder.mkdir(mode=0o700)
        self._programs = programs
        self.port, etcd, peer = free_ports(3)
        self._etcd = f"http://127.0.0.1:{etcd}"
        self._peer = f"http://127.0.0.1:{peer}"
        self.who = identities.make(self.folder / "keys", self.net, self.port)
        self._token = json.loads(self.kubeconfig.read_text())["users"][0]["user"]["token"]
        self._trusted = ssl.create_default_context(cafile=self.who["ca.crt"])
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def kubeconfig(self) -> Path:
        """That of a person who may do everything; its context is `tests`."""
        return self.who.kubeconfig("admin")

    def start(self) -> None:
        """Start what does not run, and wait until namespaces can be used."""
        for name in _ORDER:
            if name not in self._running:
                self.start_one(name)
            if name == "etcd":
                # The API server gives up on an etcd that does not answer.
                until(self._etcd_answers, what="etcd to answer", seconds=_READY)
            if name == "kube-apiserver":
                until(self.answers, what="the API server to be ready", seconds=_READY)
        until(self._has_account, what="the controllers to make an account", seconds=_READY)

    def start_one(self, name: str) -> None:
        """Start one part of it, without waiting: `kube-apiserver`, say, that a test has stopped."""
        words = _FLAGS[name](self)
        with self._log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                [self._programs[name], *words],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - it takes no lock
            )

    def stop_one(self, name: str, *, number: int = signal.SIGTERM) -> None:
        """End one part of it and wait for that; SIGKILL for one that is to die."""
        process = self._running.pop(name)
        process.send_signal(number)
        process.wait(60)

    def signal_one(self, name: str, number: int) -> None:
        """A signal for one part: SIGSTOP makes it slow, SIGCONT ends that."""
        self._running[name].send_signal(number)

    def answers(self) -> bool:
        """Whether the API server is ready."""
        if (process := self._running.get("kube-apiserver")) and process.poll() is not None:
            raise AssertionError(self._log("kube-apiserver").read_text(errors="replace")[-2000:])
        return bool(self.get("/readyz") == "ok")

    def _etcd_answers(self) -> bool:
        try:
            return httpx.get(f"{self._etcd}/health", timeout=5, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def _has_account(self) -> bool:
        return self.get("/api/v1/namespaces/default/serviceaccounts/default") is not None

    def end(self) -> None:
        """Stop all of it, and leave nothing."""
        for process in self._running.values():
            process.kill()  # nothing of it is kept
        for process in self._running.values():
            process.wait(30)
        self._running = {}
        clear(self.net)
        self.net.held.close()

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def client(self) -> httpx.Client:
        """A client of one who may do everything; paths are those of the API."""
        return httpx.Client(
            base_url=f"https://127.0.0.1:{self.port}",
            headers={"Authorization": f"Bearer {self._token}"},
            verify=self._trusted,
            timeout=5,
            trust_env=False,
        )

    def get(self, path: str) -> Any:
        """What the API server answers for a path, or None where it does not, or has no such thing."""
        try:
            with self.client() as client:
                answer = client.get(path)
        except httpx.HTTPError:
            return None
        if answer.status_code != 200:
            return None
        return answer.json() if "json" in answer.headers["content-type"] else answer.text


def clear(net: Net) -> None:
    """Remove what a killed cluster of these addresses has left, which are ours: files, and groups of processes."""
    for group in Path("/sys/fs/cgroup").glob(f"*/{net.name}"):
        for folder, _, _ in os.walk(group, topdown=False):
            Path(folder).rmdir()
    shutil.rmtree(Path(tempfile.gettempdir()) / net.name, ignore_errors=True)


def _etcd(plane: ControlPlane) -> list[str]:
    return [
        f"--data-dir={plane.folder / 'etcd'}",
        f"--listen-client-urls={plane._etcd}",
        f"--advertise-client-urls={plane._etcd}",
        f"--listen-peer-urls={plane._peer}",
        f"--initial-advertise-peer-urls={plane._peer}",
        f"--initial-cluster=default={plane._peer}",
        "--unsafe-no-fsync",  # its data die with it
    ]


def _server(plane: ControlPlane) -> list[str]:
    who = plane.who
    return [
        f"--etcd-servers={plane._etcd}",
        "--bind-address=0.0.0.0",
        f"--advertise-address={plane.net.machine}",
        f"--secure-port={plane.port}",
        f"--service-cluster-ip-range={plane.net.services}",
        f"--cert-dir={plane.folder}",
        f"--tls-cert-file={who['server.crt']}",
        f"--tls-private-key-file={who['server.key']}",
        f"--client-ca-file={who['ca.crt']}",
        f"--token-auth-file={who['tokens.csv']}",
        "--authorization-mode=Node,RBAC",
        f"--enable-admission-plugins={','.join(_ADMISSION)}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={who['accounts.pub']}",
        f"--service-account-signing-key-file={who['accounts.key']}",
        f"--kubelet-client-certificate={who['client.crt']}",
        f"--kubelet-client-key={who['client.key']}",
        "--kubelet-preferred-address-types=InternalIP",
        # APIs of other servers (metrics) may be registered.
        f"--requestheader-client-ca-file={who['ca.crt']}",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={who['client.crt']}",
        f"--proxy-client-key-file={who['client.key']}",
        "--enable-aggregator-routing=true",
        "--allow-privileged=true",
    ]


def _controllers(plane: ControlPlane) -> list[str]:
    return [
        f"--kubeconfig={plane.who.kubeconfig('controllers')}",
        "--leader-elect=false",
        "--secure-port=0",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={plane.who['accounts.key']}",
        f"--root-ca-file={plane.who['ca.crt']}",
        f"--cluster-signing-cert-file={plane.who['ca.crt']}",
        f"--cluster-signing-key-file={plane.who['ca.key']}",
        "--horizontal-pod-autoscaler-sync-period=2s",
        "--horizontal-pod-autoscaler-downscale-stabilization=5s",
    ]


def _scheduler(plane: ControlPlane) -> list[str]:
    return [
        f"--kubeconfig={plane.who.kubeconfig('scheduler')}",
        "--leader-elect=false",
        "--secure-port=0",
    ]


def kwok_flags(kubeconfig: Path, pods: str) -> list[str]:
    """kwok, for the nodes that bear our annotation and no others."""
    return [
        f"--kubeconfig={kubeconfig}",
        "--manage-all-nodes=false",
        "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
        f"--cidr={pods}",
    ]


_FLAGS: Mapping[str, Callable[[ControlPlane], list[str]]] = {
    "etcd": _etcd,
    "kube-apiserver": _server,
    "kube-controller-manager": _controllers,
    "kube-scheduler": _scheduler,
    "kwok": lambda plane: kwok_flags(plane.who.kubeconfig("seeming"), plane.net.seeming),
}
