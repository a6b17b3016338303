"""Docker Engine, and of Debian 13 what Debian 12 lacks: Docker Compose v2, and a busybox whose `wget -T` works."""

from __future__ import annotations

import shutil
from pathlib import Path

from tools.parts import debian
from tools.parts.part import Part

COMPOSE = "2.26.1"
BUSYBOX = "1.37"
_PLUGIN = Path("usr/libexec/docker/cli-plugins/docker-compose")


def _install_compose(folder: Path) -> None:
    debian.unpack_newer("docker-compose", folder / "x")
    _keep(folder, _PLUGIN, _PLUGIN.name)


def _install_busybox(folder: Path) -> None:
    debian.unpack_newer("busybox-static", folder / "x")
    _keep(folder, Path("usr/bin/busybox"), f"busybox-{BUSYBOX}")


def _keep(folder: Path, program: Path, name: str) -> None:
    (folder / "bin").mkdir()
    shutil.copy(folder / "x" / program, folder / "bin" / name)
    shutil.rmtree(folder / "x")


PARTS = (
    Part(
        name="docker",
        version="20",
        binaries=("dockerd", "docker", "containerd"),
        how_to_get="make parts (Debian: apt-get install docker.io busybox-static)",
        debian=("docker.io", "busybox-static"),
    ),
    Part(
        name="compose",
        version=COMPOSE,
        binaries=("docker-compose",),
        how_to_get="make parts (takes the one program out of the Debian 13 package docker-compose)",
        install=_install_compose,
        probe=("version",),
    ),
    Part(
        name="busybox",
        version=BUSYBOX,
        binaries=(f"busybox-{BUSYBOX}",),  # not the one on PATH
        how_to_get="make parts (takes the one program out of the Debian 13 package busybox-static)",
        install=_install_busybox,
        probe=("true",),
    ),
)
