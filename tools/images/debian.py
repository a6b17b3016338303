"""Layers of Debian packages, unpacked and not installed, so that nothing of the machine changes."""

from __future__ import annotations

import fnmatch
import tempfile
from pathlib import Path

from tools.images.layer import Folder, Layer
from tools.parts import cache, command
from tools.parts import debian as parts_debian
from tools.parts.part import PartError

BASE = (
    "libc6",
    "libc-bin",
    "libstdc++6",
    "zlib1g",
    "libssl3",
    "libsystemd0",
    "libpcre2-8-0",
    "ca-certificates",
)
"""What the layer below all others holds, with all that it depends on."""
_NEVER = (
    "perl*", "libperl*", "lib*-perl", "adduser", "debconf", "passwd", "libpam-modules*", "libsemanage*", "libsepol*",
    "init-system-helpers", "sysvinit-utils", "usrmerge", "dpkg", "tar", "lsb-base", "ucf", "sensible-utils", "ssl-cert",
    "openssl", "postgresql-common", "postgresql-client-common", "netbase", "libllvm*", "libz3*", "locales", "libc-l10n",
    "libgdbm*", "mawk", "debianutils", "base-files", "readline-common", "media-types", "gcc-12-base", "logsave",
)  # fmt: skip
"""Packages that only installing asks for, and Postgres' compiler of queries."""


def packages(
    name: str, *wanted: str, without: tuple[str, ...] = (), folders: tuple[Folder, ...] = ()
) -> Layer:
    """A layer of packages and all that they depend on, less what BASE brings and what matches `without`."""

    def fill(root: Path) -> None:
        _unpack(root, wanted, (*without, *(_resolved(BASE) if wanted != BASE else ())))

    return Layer(name, repr((wanted, without, _NEVER)), fill, folders)


def newer(name: str, package: str) -> Layer:
    """A layer of one package of Debian 13, without what it depends on."""
    return Layer(name, f"{package} of Debian 13", lambda root: parts_debian.unpack_newer(package, root))


def _unpack(root: Path, wanted: tuple[str, ...], without: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory(dir=cache.root()) as made:
        work = Path(made)
        command.run([*_apt(work), "--download-only", "install", *wanted], timeout=300)
        for archive in sorted((work / "cache" / "archives").glob("*.deb")):
            package = archive.name.partition("_")[0]
            if not any(fnmatch.fnmatch(package, one) for one in (*_NEVER, *without)):
                command.run(["dpkg-deb", "-x", archive, root], timeout=120)


def _resolved(wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Names of packages and of all that they depend on."""
    with tempfile.TemporaryDirectory(dir=cache.root()) as made:
        said = command.run([*_apt(Path(made)), "--simulate", "install", *wanted], timeout=120)
    found = tuple(line.split()[1] for line in said.splitlines() if line.startswith("Inst "))
    if not found:
        raise PartError(f"apt-get resolves {' '.join(wanted)} to nothing; `apt-get update` may be needed")
    return found


def _apt(work: Path) -> list[str]:
    """apt-get for a machine on which nothing is installed."""
    (work / "cache" / "archives" / "partial").mkdir(parents=True)
    (work / "status").touch()
    places = {
        "Dir::State::status": work / "status",
        "Dir::Cache": work / "cache",
        "Debug::NoLocking": "1",
        "APT::Install-Recommends": "0",
        "Acquire::Retries": 3,
        "APT::Sandbox::User": "root",
    }
    return ["apt-get", "-y", *(word for name, value in places.items() for word in ("-o", f"{name}={value}"))]
