"""The engine that a stack declares, as the variables by which `docker`, Compose and the SDK find it.

What the surroundings say of an engine counts only where the stack says nothing: a stack that names its engine is never
deployed to another one because of a variable that somebody has set.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

from ops_pipelines.errors import CommandMissing, UsageError
from ops_pipelines.stack.components import ComposeTarget, RemoteEngine
from ops_pipelines.wiring.files import write_whole
from ops_pipelines.wiring.site import Site

_VARIABLES = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")


def engine_environ(site: Site, target: ComposeTarget, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment with the declared engine in it; as it is, where none is declared.

    Raises UsageError for a file of it that is not there."""
    if target.context is None and target.engine is None:
        return dict(environ)
    found = {name: value for name, value in environ.items() if name not in _VARIABLES}
    if target.engine is None:
        return {**found, "DOCKER_CONTEXT": target.context or ""}
    found["DOCKER_HOST"] = target.engine.host
    if target.engine.certificates is not None:
        folder = _there(site, target.engine.certificates, "certificates")
        found |= {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(folder)}
    if target.engine.host.startswith("ssh:"):
        found["PATH"] = f"{_ssh(site, target.engine, found)}:{found.get('PATH', '')}"
    return found


def _ssh(site: Site, engine: RemoteEngine, environ: Mapping[str, str]) -> Path:
    """Folder with an `ssh` of this stack's own: `docker` and Compose start what PATH names, and take no options."""
    program = shutil.which("ssh", path=environ.get("PATH"))
    if program is None:
        raise CommandMissing(
            f"{site.name} runs at {engine.host}, and there is no `ssh` on PATH",
            remedy="install OpenSSH's client",
        )
    options = ["BatchMode=yes", "StrictHostKeyChecking=yes", "ConnectTimeout=15", "ServerAliveInterval=15"]
    words = [program]
    if engine.known_hosts is not None:
        known = _there(site, engine.known_hosts, "known_hosts")
        options += [f"UserKnownHostsFile={known}", "GlobalKnownHostsFile=/dev/null"]
    if engine.identity is not None:
        words += ["-i", str(_there(site, engine.identity, "identity"))]
        options += ["IdentitiesOnly=yes", "IdentityAgent=none"]
    words += [word for option in options for word in ("-o", option)]
    path = site.state / "compose" / "ssh" / "ssh"
    text = f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n'
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_whole(path, text)
        path.chmod(0o755)
    return path.parent


def _there(site: Site, named: str, field: str) -> Path:
    path = (site.folder / named).expanduser().resolve()
    if not path.exists():
        raise UsageError(
            f"{path} is not there", remedy=f"correct target.engine.{field} in {site.loaded.path}"
        )
    return path
