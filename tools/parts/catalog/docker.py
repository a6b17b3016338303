"""Docker Engine, and Docker Compose v2, which Debian 12 lacks: the package of Debian 13 is one static program."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from tools.parts import cache, command
from tools.parts.part import Part, PartError

COMPOSE = "2.26.1"
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_PLUGIN = Path("usr/libexec/docker/cli-plugins/docker-compose")


def _install_compose(folder: Path) -> None:
    """Fetch the package with lists of its own, so that nothing of the machine's apt changes, and unpack it."""
    if not shutil.which("apt-get"):
        raise PartError("this is not Debian (no apt-get): install the Docker Compose plugin")
    with tempfile.TemporaryDirectory(dir=cache.root()) as made:
        work = Path(made)
        for name in ("sources", "lists/partial", "cache/archives/partial"):
            (work / name).mkdir(parents=True)
        (work / "sources" / "trixie.sources").write_text(
            f"Types: deb\nURIs: {_mirror()}\nSuites: trixie\nComponents: main\nSigned-By: {_KEYRING}\n"
        )
        places = {
            "Dir::Etc::sourcelist": "/dev/null",
            "Dir::Etc::sourceparts": work / "sources",
            "Dir::State::lists": work / "lists",
            "Dir::Cache": work / "cache",
            "Acquire::Retries": 3,
        }
        apt = ["apt-get", *(word for name, value in places.items() for word in ("-o", f"{name}={value}"))]
        command.run([*apt, "update"], timeout=300)
        command.run(["env", "-C", work, *apt, "download", "docker-compose"], timeout=300)
        [package] = work.glob("docker-compose_*.deb")
        command.run(["dpkg-deb", "-x", package, work / "x"], timeout=60)
        (folder / "bin").mkdir()
        shutil.copy(work / "x" / _PLUGIN, folder / "bin" / "docker-compose")


def _mirror() -> str:
    """Where this machine's own apt has Debian from."""
    lines = command.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)", "Created-By: Packages"], timeout=60
    )
    found = [line.split(" ", 1)[1] for line in lines.splitlines() if line.startswith("Debian http")]
    return found[0] if found else "http://deb.debian.org/debian"


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
)
