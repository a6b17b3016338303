"""A kubeconfig: which server a context means, whom to trust, and who we are to it.

https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/ and
https://kubernetes.io/docs/reference/config-api/client-authentication.v1/ for programs that give credentials.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import ssl
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ops_pipelines.adapters import _process
from ops_pipelines.errors import Refused, UsageError

_EXEC = 60.0
"""Seconds that a program may take which gives credentials."""
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True)
class Access:
    """How one context's API server is spoken to."""

    context: str
    server: str
    namespace: str
    cluster: Mapping[str, Any] = field(repr=False)
    user: Mapping[str, Any] = field(repr=False)
    folder: Path = field(repr=False)
    """Relative paths of the kubeconfig start here."""
    environ: Mapping[str, str] = field(repr=False)

    @property
    def proxy(self) -> str | None:
        """URL of the proxy that the kubeconfig names."""
        return self.cluster.get("proxy-url") or None

    @property
    def server_name(self) -> str | None:
        """Name that the server's certificate has, where it is not that of its address."""
        return self.cluster.get("tls-server-name") or None

    def headers(self) -> dict[str, str]:
        """Who we are, read anew: tokens in files change. Raises Refused where no credentials can be had."""
        user = self.user
        if user.get("token"):
            return {"Authorization": f"Bearer {user['token']}"}
        if user.get("tokenFile"):
            try:
                token = (self.folder / user["tokenFile"]).read_text(encoding="utf-8").strip()
            except OSError as error:
                raise Refused(
                    f"the token of context {self.context} cannot be read: {error.strerror}",
                    remedy=f"correct tokenFile of its user in the kubeconfig ({user['tokenFile']})",
                ) from error
            return {"Authorization": f"Bearer {token}"}
        if user.get("exec"):
            token = str(self._from_program().get("token") or "")
            return {"Authorization": f"Bearer {token}"} if token else {}
        if user.get("username"):
            pair = base64.b64encode(f"{user['username']}:{user.get('password', '')}".encode()).decode()
            return {"Authorization": f"Basic {pair}"}
        return {}

    def tls(self) -> ssl.SSLContext:
        """Whom to trust, and our certificate. Raises UsageError where the kubeconfig's own do not fit."""
        cluster, user = self.cluster, self.user
        try:
            authority = self._text(cluster, "certificate-authority")
            found = ssl.create_default_context(cadata=authority)
            if cluster.get("insecure-skip-tls-verify"):
                found.check_hostname = False
                found.verify_mode = ssl.CERT_NONE
            pair = self._text(user, "client-certificate"), self._text(user, "client-key")
            if user.get("exec") and not all(pair):
                given = self._from_program()
                pair = given.get("clientCertificateData"), given.get("clientKeyData")
            if all(pair):
                _load_pair(found, str(pair[0]), str(pair[1]))
        except (OSError, ssl.SSLError, binascii.Error, UnicodeDecodeError) as error:
            raise UsageError(
                f"the certificates of context {self.context} cannot be used: {error}",
                remedy="correct the kubeconfig",
            ) from error
        return found

    def _text(self, table: Mapping[str, Any], name: str) -> str | None:
        data = table.get(f"{name}-data")
        if data:
            return base64.b64decode(data).decode()
        path = table.get(name)
        return (self.folder / path).read_text(encoding="utf-8") if path else None

    def _from_program(self) -> Mapping[str, Any]:
        """Credentials that a program gives (`exec` of a user: of the clouds, of OpenID Connect)."""
        known = self.user["exec"]
        about = {
            "apiVersion": known.get("apiVersion", "client.authentication.k8s.io/v1"),
            "kind": "ExecCredential",
            "spec": {"interactive": False},
        }
        more = {one["name"]: one["value"] for one in known.get("env") or ()}
        environ = {**self.environ, **more, "KUBERNETES_EXEC_INFO": json.dumps(about)}
        done = _process.run(
            [known["command"], *(known.get("args") or ())],
            timeout=_EXEC,
            remedy=f"log in anew; context {self.context} takes its credentials from `{known['command']}`",
            environ=environ,
            cwd=self.folder,
        )
        try:
            status: Mapping[str, Any] = json.loads(done.stdout)["status"]
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(
                f"`{known['command']}` gave no credentials for context {self.context}", remedy="log in anew"
            ) from error
        return status


def _load_pair(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """OpenSSL reads both from files alone: they are this user's and gone at once."""
    handle, name = tempfile.mkstemp(prefix="ops-", suffix=".pem")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(f"{certificate}\n{key}\n")
        context.load_cert_chain(name)
    finally:
        with suppress(OSError):
            os.unlink(name)


def read_access(files: Sequence[Path], context: str, environ: Mapping[str, str]) -> Access:
    """A context of kubeconfigs, of which the first that names a thing counts.

    Raises UsageError where none is there, or none names the context (with those that are known)."""
    contexts: dict[str, Any] = {}
    clusters: dict[str, tuple[Any, Path]] = {}
    users: dict[str, tuple[Any, Path]] = {}
    there = [one for one in files if one.is_file()]
    if not there:
        raise UsageError(
            f"no kubeconfig is there: {', '.join(map(str, files)) or 'none is named'}",
            remedy="set target.kubeconfig or KUBECONFIG, or write ~/.kube/config",
        )
    for file in there:
        raw = _read(file)
        for one in raw.get("contexts") or ():
            contexts.setdefault(one.get("name"), one.get("context") or {})
        for one in raw.get("clusters") or ():
            clusters.setdefault(one.get("name"), (one.get("cluster") or {}, file.parent))
        for one in raw.get("users") or ():
            users.setdefault(one.get("name"), (one.get("user") or {}, file.parent))
    if context not in contexts:
        raise UsageError(
            f"the kubeconfig has no context {context!r}",
            remedy=f"correct target.context; it has: {', '.join(map(str, contexts)) or 'none'}",
        )
    chosen = contexts[context]
    cluster, folder = clusters.get(chosen.get("cluster"), ({}, there[0].parent))
    user, _ = users.get(chosen.get("user"), ({}, there[0].parent))
    if not cluster.get("server"):
        raise UsageError(
            f"context {context} names no cluster with a server", remedy="correct the kubeconfig: `clusters`"
        )
    server = str(cluster["server"]).rstrip("/")
    return Access(context, server, str(chosen.get("namespace") or ""), cluster, user, folder, environ)


def _read(file: Path) -> Mapping[str, Any]:
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{file} cannot be read as a kubeconfig", remedy="correct it") from error
    return found if isinstance(found, Mapping) else {}


def default_files(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Kubeconfigs of KUBECONFIG, else that of the home folder."""
    named = environ.get("KUBECONFIG")
    if named:
        return tuple(Path(one) for one in named.split(os.pathsep) if one)
    return (Path(environ.get("HOME") or "/", ".kube", "config"),)


def in_cluster(environ: Mapping[str, str]) -> str:
    """A kubeconfig (JSON) for the cluster in which this process runs, by its pod's ServiceAccount.

    Raises UsageError where it runs in none."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT_HTTPS", "443")
    token = _ACCOUNT / "token"
    if not host or not token.is_file():
        raise UsageError(
            "context `in-cluster` is for a process that runs in the cluster, and this one runs in none",
            remedy="name a context of your kubeconfig in target.context",
        )
    host = f"[{host}]" if ":" in host else host
    name = "in-cluster"
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": name,
                    "cluster": {
                        "server": f"https://{host}:{port}",
                        "certificate-authority": str(_ACCOUNT / "ca.crt"),
                    },
                }
            ],
            "users": [{"name": name, "user": {"tokenFile": str(token)}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        }
    )
