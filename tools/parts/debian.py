"""Debian packages: one `apt-get update` and one install for all that is missing."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from tools.parts import cache, command
from tools.parts.part import PartError

NO_START = Path("/usr/sbin/policy-rc.d")
REFUSAL = "#!/bin/sh\n# Written by `make parts` of ops-pipelines, which removes it again.\nexit 101\n"
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
APT = ("apt-get", "-y", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3")


def absent(packages: Iterable[str]) -> list[str]:
    """Those that are not installed, sorted; all of them where there is no dpkg."""
    wanted = sorted(set(packages))
    if not wanted or not shutil.which("dpkg-query"):
        return wanted
    asked = ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n"]
    lines = command.run(asked, timeout=60).splitlines()
    installed = {line.split(" ")[0] for line in lines if line.endswith(" installed")}
    return [name for name in wanted if name not in installed]


def install(packages: Iterable[str]) -> None:
    """Install these in one go, asking nothing and starting no service."""
    names = list(packages)
    line = "apt-get install --no-install-recommends " + " ".join(names)
    if not shutil.which("apt-get"):
        raise PartError(f"this is not Debian (no apt-get); there it would be: {line}")
    if os.geteuid() != 0:
        raise PartError(f"only root may install packages: sudo {line}")
    quiet = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    stale = ""
    try:
        command.run([*APT, "update"], timeout=300, env=quiet)
    except PartError as error:
        # One unreachable source of the machine's owner need not matter: the install tells.
        stale = f"\n  before that: {error}"
    with services_stay_down():
        try:
            command.run([*APT, "install", "--no-install-recommends", *names], timeout=1200, env=quiet)
        except PartError as error:
            raise PartError(f"{error}{stale}") from error


@contextlib.contextmanager
def services_stay_down() -> Iterator[None]:
    """Let no package start its service: tests start servers of their own, and would find the ports taken.

    Debian asks policy-rc.d before it starts a service; 101 means no. A machine with its own policy keeps it.
    """
    try:
        with NO_START.open("x") as policy:
            policy.write(
                "#!/bin/sh\n# Written by ops-pipelines' make parts, which removes it again.\nexit 101\n"
            )
    except FileExistsError:
        yield
        return
    try:
        NO_START.chmod(0o755)
        yield
    finally:
        NO_START.unlink(missing_ok=True)


def unpack_newer(package: str, folder: Path) -> None:
    """Unpack a package of Debian 13 into a folder, with lists of its own, so that nothing of the machine's apt changes.

    What it depends on does not come with it."""
    if not shutil.which("apt-get"):
        raise PartError(f"this is not Debian (no apt-get): {package} cannot be fetched")
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
        command.run(["env", "-C", work, *apt, "download", package], timeout=300)
        [archive] = work.glob(f"{package}_*.deb")
        command.run(["dpkg-deb", "-x", archive, folder], timeout=60)


def _mirror() -> str:
    """Where this machine's own apt has Debian from."""
    lines = command.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)", "Created-By: Packages"], timeout=60
    )
    found = [line.split(" ", 1)[1] for line in lines.splitlines() if line.startswith("Debian http")]
    return found[0] if found else "http://deb.debian.org/debian"
