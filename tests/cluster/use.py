"""What a test does with a cluster: namespaces of its own, GPU nodes, accounts with given rights, the real node."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import pytest

from tests.cluster.identities import write_kubeconfig
from tests.cluster.nodes import POOL, gpu_node
from tests.cluster.session import Session
from tests.parts import require
from tests.waiting import until
from tools.images import all_images
from tools.images.image import write_archive

_SELECTOR = "scheduler.alpha.kubernetes.io/node-selector"
Rules = Sequence[Mapping[str, Sequence[str]]]
"""Rules of a Role: apiGroups, resources, verbs (resourceNames, nonResourceURLs)."""


@dataclass(frozen=True)
class Cluster:
    """A cluster, seen by one who may do everything in it."""

    kubeconfig: Path
    context: str
    folder: Path
    """Where files of the tests lie."""
    session: Session | None = field(default=None, repr=False)
    """None for the cluster of OPS_TEST_KUBECONFIG."""

    def ask(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """`kubectl ...`, which may fail."""
        program = require("kubectl").path
        return subprocess.run(
            [program, f"--kubeconfig={self.kubeconfig}", f"--context={self.context}", *words],
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def kubectl(self, *words: str, stdin: str = "") -> str:
        """`kubectl ...`, which must succeed; what it printed."""
        done = self.ask(*words, stdin=stdin)
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr}"
        return done.stdout.strip()

    def create(self, *things: Mapping[str, Any]) -> None:
        """Create things, cluster-wide or in the namespaces that they name."""
        listed = {"apiVersion": "v1", "kind": "List", "items": things}
        self.kubectl("create", "-f", "-", stdin=json.dumps(listed))

    @contextmanager
    def namespace(
        self, pool: str | None = "own", labels: Mapping[str, str] | None = None
    ) -> Iterator[Namespace]:
        """A new namespace, which goes with what is in it.

        `pool` says where its pods may be put: `own`: on the nodes that it makes itself, `real`: on the node whose
        pods run, None: on any. Another test's nodes are then none of its business, as theirs is none of ours."""
        name = f"t-{uuid4().hex[:10]}"
        where = {"own": name, "real": "real"}.get(pool or "")
        about = {
            "name": name,
            "labels": dict(labels or {}),
            "annotations": {_SELECTOR: f"{POOL}={where}"} if where and self.session else {},
        }
        self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": about})
        space = Namespace(self, name)
        try:
            until(lambda: self.ask("-n", name, "get", "sa", "default").returncode == 0, what="its account")
            yield space
        finally:
            self.ask("delete", "namespace", name, "--wait=false")
            self.ask(
                "delete", "nodes,clusterroles,clusterrolebindings", "-l", f"{POOL}={name}", "--wait=false"
            )

    def crds(self, *sets: str) -> None:
        """Have these sets of CRDs (tools/parts/catalog/kube_crds.py) in the cluster, once for all tests."""
        folder = require("kube-crds").path.parents[1] / "crds"
        for name in sets:
            with self.once(f"crds-{name}") as first:
                if first:
                    self.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(folder / name))
                    self.kubectl(
                        "wait", "--for=condition=Established", "--timeout=60s", "-f", str(folder / name)
                    )

    @contextmanager
    def once(self, what: str) -> Iterator[bool]:
        """True for the first process of this run that comes here, while the others wait; what fails is not done."""
        with (self.folder / f"{what}.once").open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            lock.seek(0)
            first = not lock.read()
            yield first
            if first:
                lock.write("done")

    @cached_property
    def node(self) -> Node:
        """The node whose pods run; started when it is first asked for."""
        if self.session is None:
            return Node(self, "", None)
        if os.geteuid() != 0:
            pytest.skip("a real node needs root")
        about = self.session.node()
        return Node(self, about["node"], Path(about["containerd"]))

    def server_version(self) -> str:
        """Such as v1.34.4."""
        return str(json.loads(self.kubectl("version", "-o", "json"))["serverVersion"]["gitVersion"])


@dataclass(frozen=True)
class Node:
    """The node whose pods run: containerd's socket is None for a cluster of somebody else."""

    cluster: Cluster
    name: str
    containerd: Path | None

    def load(self, names: Iterable[str]) -> None:
        """Bring images of tools/images to it, once each; the test ends here where they are not made."""
        known = all_images()
        wanted = list(dict.fromkeys(known[name] for name in names))
        if missing := [image.names[0] for image in wanted if not image.made]:
            pytest.skip(f"{', '.join(missing)}: not made: make parts ARGS=whole-stack-images")
        for image in wanted:
            with self.cluster.once(f"image-{image.id.removeprefix('sha256:')}") as first:
                if first:
                    with tempfile.NamedTemporaryFile(dir=self.cluster.folder, suffix=".tar") as archive:
                        write_archive([image], archive)
                        archive.flush()
                        self.import_archive(archive)

    def import_archive(self, archive: IO[bytes]) -> None:
        """An archive as `docker save` writes it."""
        if self.containerd:
            words = [
                str(require("cri")["ctr"]),
                "-a",
                str(self.containerd),
                "-n",
                "k8s.io",
                "images",
                "import",
            ]
        elif not (words := os.environ.get("OPS_TEST_LOAD_IMAGE", "").split()):
            pytest.skip("OPS_TEST_LOAD_IMAGE does not say how an image comes into the cluster")
        done = subprocess.run(
            [*words, archive.name], capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"


@dataclass(frozen=True)
class Namespace:
    """A namespace of one test."""

    cluster: Cluster
    name: str

    def ask(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """`kubectl -n ...`, which may fail."""
        return self.cluster.ask("-n", self.name, *words, stdin=stdin)

    def kubectl(self, *words: str, stdin: str = "") -> str:
        """`kubectl -n ...`, which must succeed; what it printed."""
        return self.cluster.kubectl("-n", self.name, *words, stdin=stdin)

    def create(self, *things: Mapping[str, Any]) -> None:
        """Create things in it."""
        listed = {"apiVersion": "v1", "kind": "List", "items": things}
        self.kubectl("create", "-f", "-", stdin=json.dumps(listed))

    def get(self, what: str) -> dict[str, Any]:
        """One thing, such as `pod/web-0`, or all of a kind under `items`."""
        found: dict[str, Any] = json.loads(self.kubectl("get", what, "-o", "json"))
        return found

    def wait(self, condition: str, what: str, seconds: int = 90) -> None:
        """Until a condition holds: `condition=Ready`, `jsonpath={.status.phase}=Bound`, `delete`."""
        self.kubectl("wait", f"--for={condition}", f"--timeout={seconds}s", what)

    def gpu_node(self, **how: Any) -> str:
        """A node that only seems to run its pods, as `tests.cluster.nodes.gpu_node` makes it; its name."""
        name = f"{self.name}-{uuid4().hex[:4]}"
        self.cluster.create(gpu_node(name, self.name, **how))
        self.cluster.kubectl("wait", "--for=condition=Ready", "--timeout=60s", f"node/{name}")
        return name

    def account(self, rules: Rules, *, cluster: Rules = (), name: str = "") -> Path:
        """Kubeconfig of a new account that may do this here, that in the whole cluster, and nothing else."""
        name = name or f"a-{uuid4().hex[:6]}"
        about = {"name": name, "namespace": self.name}
        wide = {"name": f"{self.name}-{name}", "labels": {POOL: self.name}}
        whom = [{"kind": "ServiceAccount", "name": name, "namespace": self.name}]
        rbac, group = "rbac.authorization.k8s.io/v1", "rbac.authorization.k8s.io"
        self.cluster.create(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": about},
            {"apiVersion": rbac, "kind": "Role", "metadata": about, "rules": list(rules)},
            {"apiVersion": rbac, "kind": "ClusterRole", "metadata": wide, "rules": list(cluster)},
            *(
                {
                    "apiVersion": rbac,
                    "kind": f"{kind}Binding",
                    "metadata": named,
                    "subjects": whom,
                    "roleRef": {"apiGroup": group, "kind": kind, "name": named["name"]},
                }
                for kind, named in (("Role", about), ("ClusterRole", wide))
            ),
        )
        token = self.kubectl("create", "token", name)
        view = json.loads(self.cluster.kubectl("config", "view", "--minify", "--flatten", "-o", "json"))
        server = view["clusters"][0]["cluster"]
        file = self.cluster.folder / f"{self.name}-{name}.kubeconfig"
        return write_kubeconfig(file, server, token, namespace=self.name)
