"""Where a Docker Engine is, a client of the `docker` SDK for it, and what its refusals mean."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ops_pipelines.errors import OpsError, Refused, Unreachable, UsageError

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.tls import TLSConfig

TIMEOUT = 30
_SSH = "http://ssh:1"
_ANY = "1.41"
"""A version of the API to ask by which one is spoken; the question itself names none."""
_PEM = ("ca.pem", "cert.pem", "key.pem")


@dataclass(frozen=True)
class Address:
    """Where an engine answers."""

    host: str | None
    """As in DOCKER_HOST; None: the usual socket of this machine."""
    certificates: Path | None = None
    """Folder with ca.pem, cert.pem and key.pem."""
    verify: bool = True

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine, as far as its address tells."""
        return self.host is None or self.host.startswith(("unix:", "npipe:"))

    @property
    def machine(self) -> str | None:
        """Name or address of the other machine that it is on; None for this one."""
        return None if self.is_local or self.host is None else urlsplit(self.host).hostname

    def __str__(self) -> str:
        return self.host or "its usual place"


def address(environ: Mapping[str, str]) -> Address:
    """The engine that `docker` would speak to in this environment. Raises UsageError for a context that is not there.

    Contexts lie in `$DOCKER_CONFIG/contexts/{meta,tls}/<sha256 of the name>/` (docker/cli, cli/context/store)."""
    home = Path(environ.get("DOCKER_CONFIG") or Path(environ.get("HOME", "/")) / ".docker")
    if environ.get("DOCKER_HOST"):
        verify = bool(environ.get("DOCKER_TLS_VERIFY"))
        keys = Path(environ.get("DOCKER_CERT_PATH") or home) if verify else None
        return Address(environ["DOCKER_HOST"], keys)
    chosen = environ.get("DOCKER_CONTEXT") or _read(home / "config.json").get("currentContext")
    if not chosen or chosen == "default":
        return Address(None)
    folder = hashlib.sha256(chosen.encode()).hexdigest()
    meta = _read(home / "contexts" / "meta" / folder / "meta.json")
    if not meta:
        raise UsageError(f"there is no Docker context {chosen!r}", remedy="`docker context ls` lists them")
    endpoint = (meta.get("Endpoints") or {}).get("docker", {})
    tls = home / "contexts" / "tls" / folder / "docker"
    return Address(endpoint.get("Host"), tls if tls.is_dir() else None, not endpoint.get("SkipTLSVerify"))


def client(environ: Mapping[str, str]) -> DockerClient:
    """A client for that engine, which has answered once. Raises UsageError for certificates that are not there."""
    import docker

    at = address(environ)

    def made(version: str) -> DockerClient:
        if at.host is not None and at.host.startswith("ssh:"):
            from ops_pipelines.adapters._docker_ssh import Adapter

            one = docker.DockerClient(base_url=_SSH, timeout=TIMEOUT, version=version)
            one.api.mount(_SSH, Adapter(at.host, environ, TIMEOUT))
        else:
            tls = _tls(at)
            one = docker.DockerClient(base_url=at.host, timeout=TIMEOUT, version=version, tls=tls or False)
        # Else REQUESTS_CA_BUNDLE would take the place of the declared CA, and a proxy that of the engine.
        one.api.trust_env = False
        return one

    first = made(_ANY)
    try:
        spoken = str(first.api.version(api_version=False)["ApiVersion"])
    finally:
        first.close()
    return made(spoken)


def _tls(at: Address) -> TLSConfig | None:
    from docker.tls import TLSConfig

    if at.certificates is None:
        return None
    if missing := [name for name in _PEM if not (at.certificates / name).is_file()]:
        raise UsageError(
            f"{at.certificates} holds no {', '.join(missing)}",
            remedy="name the folder with ca.pem, cert.pem and key.pem (`target.engine.certificates`)",
        )
    ca, cert, key = (str(at.certificates / name) for name in _PEM)
    return TLSConfig(client_cert=(cert, key), ca_cert=ca, verify=at.verify)


_WORDS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("host key verification failed",),
        "the machine's host key is not the one that is known",
        "look whether it is the right machine, then write its key into `target.engine.known_hosts`",
    ),
    (
        ("permission denied (",),
        "ssh was refused: the key is not let in",
        "let the key in (authorized_keys of that user), or name another one in `target.engine.identity`",
    ),
    (
        ("permission denied while trying to connect", "docker.sock: connect: permission denied"),
        "the user may not use Docker on that machine",
        "add the user to the group `docker` there, or name another user in `target.engine.host`",
    ),
    (
        ("docker: command not found", "docker: not found"),
        "there is no `docker` command on that machine",
        "install it there; ssh is answered by `docker system dial-stdio`",
    ),
    (
        ("mismatch, certificate is not valid", "doesn't match"),
        "its certificate is for another name",
        "use the name that it was made for in `host`, or make one for this name",
    ),
    (
        ("certificate_verify_failed", "certificate verify failed"),
        "its certificate was not signed by the CA that is declared",
        "put the right ca.pem into `target.engine.certificates`; if it was right before, find out who answers there",
    ),
    (
        ("certificate_required", "certificate required", "bad_certificate", "bad certificate", "unknown_ca",
         "unknown ca", "alert certificate", "tlsv1_alert", "eof occurred in violation of protocol"),
        "it refuses our client certificate",
        "put a cert.pem and key.pem that its CA has signed into `target.engine.certificates`",
    ),
    (
        ("http request to an https server", "record_overflow", "wrong_version_number", "wrong version number"),
        "one side speaks TLS and the other does not",
        "declare `certificates` where the engine runs with --tlsverify, and leave them out where it does not",
    ),
)  # fmt: skip


def explained(at: Address | None, said: str) -> OpsError:
    """The error that a failed connection is, by what was said: Refused where somebody answered, else Unreachable."""
    low = said.lower()
    where = str(at) if at is not None else "its place"
    for signs, words, remedy in _WORDS:
        if any(sign in low for sign in signs):
            return Refused(f"the Docker Engine at {where}: {words} ({said})", remedy=remedy)
    return Unreachable(
        f"no Docker Engine answers at {where}: {said}",
        remedy="start it, or correct DOCKER_HOST, or `target.context` or `target.engine` of the stack",
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
