"""Debian packages: one `apt-get update` and one install for all that is missing."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from tools.parts import command
from tools.parts.part import PartError

NO_START = Path("/usr/sbin/policy-rc.d")
REFUSAL = "#!/bin/sh\n# Written by `make parts` of ops-pipelines, which removes it again.\nexit 101\n"
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
