"""The project's own image, built by deploy/platform/Dockerfile on the session's engine.

No registry is asked: the base has the name that the Dockerfile asks for, and is made of this machine's Python."""

from __future__ import annotations

import io
import json
import platform
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.parts import require
from tests.servers.docker import Docker, libraries
from tools.parts import uv
from tools.parts.part import PartError

ROOT = Path(__file__).parents[2]
IMAGE = "ops-test/ops-pipelines:data"
PLATFORM = "ops-test/ops-pipelines:platform"
_PYTHON, _UV, _CLI = "ops-test/python:base", "ops-test/uv:base", "ops-test/docker:cli"
_LEFT_OUT = ("site-packages", "__pycache__", "test", "idlelib", "tkinter", "config-3")
_COUNTED_ON = (
    "libstdc++.so.6", "libgcc_s.so.1", "librt.so.1", "libpthread.so.0", "libdl.so.2", "libutil.so.1", "libm.so.6",
)  # fmt: skip
_APPLETS = ("sh", "mkdir", "chown", "cat", "env", "ls", "true", "sleep", "id", "rm")

# What Debian has and busybox has not: its packages are left out, and of `install` this is all that is used.
_SCRIPTS = {
    "apt-get": b"#!/bin/sh\n",
    "install": b'#!/bin/sh\nset -e\n[ "$1" = -d ]\nmkdir -p "$6"\nchown "$3:$5" "$6"\n',
}


@pytest.fixture(scope="session")
def data_image(docker: Docker) -> str:
    """Name of the image, target `data`."""
    return _built(docker, IMAGE, "data", EXTRAS="")


@pytest.fixture(scope="session")
def platform_image(docker: Docker) -> str:
    """Name of the image, target `platform`. Debian's packages in it are not: nobody is asked for them."""
    plugin, cli = require("compose").path, shutil.which("docker")
    assert cli is not None
    programs = {
        "usr/local/bin/docker": Path(cli),
        "usr/local/libexec/docker/cli-plugins/docker-compose": plugin,
    }
    docker.run("import", "-", _CLI, stdin=_tar(programs))
    return _built(docker, PLATFORM, "platform", EXTRAS="--extra platform", DOCKER_CLI=_CLI)


def _built(docker: Docker, name: str, target: str, **args: str) -> str:
    try:
        program = Path(uv.binary())
    except PartError as error:
        pytest.skip(str(error))
    docker.run("import", "-", _UV, stdin=_tar({"uv": program}))
    changes = (
        "ENV PATH=/usr/local/bin:/usr/bin:/bin",
        "ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
    )
    words = [word for change in changes for word in ("--change", change)]
    docker.run("import", *words, "-", _PYTHON, stdin=python_files(program))
    build = {
        "context": str(ROOT),
        "dockerfile": "deploy/platform/Dockerfile",
        "target": target,
        "args": {"PYTHON": _PYTHON, "UV": _UV, **args},
        "network": "host",
    }
    # By Compose, which brings BuildKit's client along; the `docker` command alone may lack it.
    done = subprocess.run(
        ["docker", "compose", "--project-name", "ops-image", "-f", "-", "--progress", "plain", "build"],
        env=dict(docker.environ),
        input=json.dumps({"services": {target: {"image": name, "build": build}}}),
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"[-4000:]
    return name


def _tar(files: Mapping[str, Path]) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, path in files.items():
            tar.add(path.resolve(), name)
    return archive.getvalue()


def python_files(*more: Path) -> bytes:
    """This machine's Python, a shell, the certificates that it trusts; libraries of `more` programs too."""
    real, stdlib = Path(sys.executable).resolve(), Path(sysconfig.get_path("stdlib"))
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(stdlib, str(stdlib).lstrip("/"), filter=_wanted)
        tar.add(real, str(real).lstrip("/"))
        tar.add(shutil.which("busybox") or "/bin/busybox", "bin/busybox")
        links = {f"bin/{applet}": "busybox" for applet in _APPLETS}
        links |= {f"usr/local/bin/{name}": str(real) for name in ("python", "python3", real.name)}
        for name, target in links.items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)
        for name, script in _SCRIPTS.items():
            member = tarfile.TarInfo(f"usr/bin/{name}")
            member.mode, member.size = 0o755, len(script)
            tar.addfile(member, io.BytesIO(script))
        tar.add("/etc/ssl/certs/ca-certificates.crt", "etc/ssl/certs/ca-certificates.crt")
        programs = [real, *more, *stdlib.glob("lib-dynload/*.so")]
        needed = {library for program in programs for library in libraries(program)}
        # Wheels count on these of the system, as on any Debian.
        folder = Path("/usr/lib") / f"{platform.machine()}-linux-gnu"
        for library in needed | {folder / name for name in _COUNTED_ON}:
            tar.add(library.resolve(), str(library).lstrip("/"))
    return archive.getvalue()


def _wanted(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if any(word.startswith(_LEFT_OUT) for word in Path(member.name).parts) else member
