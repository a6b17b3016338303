"""Who may speak to a cluster of the tests: a CA, certificates, tokens, and kubeconfigs that name them."""

from __future__ import annotations

import json
import secrets
import subprocess
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.addresses import Net

NODE = "real"
_USERS = {
    # Name of the kubeconfig: user and group, as kubeadm gives them.
    "admin": ("admin", "system:masters"),
    "controllers": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "kubelet": (f"system:node:{NODE}", "system:nodes"),
    "proxy": ("system:kube-proxy", ""),
    "seeming": ("kwok", "system:masters"),
    "names": ("names", "system:masters"),
}


@dataclass(frozen=True)
class Identities:
    """Files of one cluster's keys, in one folder that only its owner reads."""

    folder: Path

    def __getitem__(self, name: str) -> str:
        """Path of a file of the folder, as a flag wants it."""
        return str(self.folder / name)

    def kubeconfig(self, who: str) -> Path:
        """That of one of the cluster's own parts, or of `admin`."""
        return self.folder / f"{who}.kubeconfig"


def make(folder: Path, net: Net, port: int) -> Identities:
    """All keys of a cluster whose API server answers at `port` of this machine."""
    folder.mkdir(mode=0o700)
    _openssl(
        folder, "req", "-x509", *_KEY, "-subj", "/CN=ops-cluster-ca", "-keyout", "ca.key", "-out", "ca.crt"
    )
    names = ["localhost", *("kubernetes" + rest for rest in ("", ".default", ".default.svc"))]
    names.append("kubernetes.default.svc.cluster.local")
    addresses = ["127.0.0.1", net.machine, net.api]
    _sign(
        folder,
        "server",
        "/CN=kube-apiserver",
        [f"DNS:{one}" for one in names] + [f"IP:{one}" for one in addresses],
    )
    _sign(folder, "client", "/O=system:masters/CN=kube-apiserver", ["DNS:kube-apiserver"])
    _openssl(folder, "genrsa", "-out", "accounts.key", "2048")
    _openssl(folder, "rsa", "-in", "accounts.key", "-pubout", "-out", "accounts.pub")
    authority = b64encode((folder / "ca.crt").read_bytes()).decode()
    rows = []
    for who, (user, group) in _USERS.items():
        token = secrets.token_hex(16)
        rows.append(f'{token},{user},{user},"{group}"\n')
        # The cluster's own parts that run on the node reach the server as pods do.
        host = net.machine if who in ("kubelet", "proxy", "names") else "127.0.0.1"
        server = {"server": f"https://{host}:{port}", "certificate-authority-data": authority}
        write_kubeconfig(folder / f"{who}.kubeconfig", server, token)
    (folder / "tokens.csv").write_text("".join(rows))
    return Identities(folder)


def write_kubeconfig(
    path: Path, cluster: Mapping[str, Any], token: str, *, namespace: str = "default"
) -> Path:
    """A kubeconfig with one context, `tests`, for the bearer of a token. It is JSON, which is YAML."""
    path.touch(mode=0o600)
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "tests", "cluster": cluster}],
                "users": [{"name": "tests", "user": {"token": token}}],
                "contexts": [
                    {
                        "name": "tests",
                        "context": {"cluster": "tests", "user": "tests", "namespace": namespace},
                    }
                ],
                "current-context": "tests",
            }
        )
    )
    return path


_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "7")


def _sign(folder: Path, name: str, subject: str, alternatives: Iterable[str]) -> None:
    """A certificate of the CA for both ends of a connection."""
    extensions = folder / f"{name}.ext"
    extensions.write_text(
        f"subjectAltName={','.join(alternatives)}\nextendedKeyUsage=serverAuth,clientAuth\n"
    )
    _openssl(
        folder, "req", "-new", *_KEY[:5], "-subj", subject, "-keyout", f"{name}.key", "-out", f"{name}.csr"
    )
    authority = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "7")
    _openssl(
        folder,
        "x509",
        "-req",
        "-in",
        f"{name}.csr",
        *authority,
        "-extfile",
        extensions.name,
        "-out",
        f"{name}.crt",
    )


def _openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, capture_output=True, check=True, timeout=60)
