"""Layers that images share: the C library, busybox as Alpine has it, a shell without HTTP clients, Python."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tools.images import debian
from tools.images.layer import Folder, Layer
from tools.images.python import compiled
from tools.parts import all_parts
from tools.parts.part import PartError

_LINKS = ("bin", "sbin", "lib", "lib64")
_CLIENTS = ("wget", "nc", "telnet", "ftpget", "ftpput", "httpd", "tftp", "ssl_client")
_VERSION = f"busybox-static {all_parts()['busybox'].version}"
_ETC = {
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
}


def _fill_libc(root: Path) -> None:
    for name in _LINKS:
        (root / "usr" / name).mkdir(parents=True)
    libc.fill(root)
    for name in _LINKS:
        _merge(root / name, root / "usr" / name)
        (root / name).symlink_to(f"usr/{name}")
    (root / "usr/bin/perl").unlink(missing_ok=True)
    for path, text in _ETC.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    certificates = sorted((root / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    (root / "etc/ssl/certs").mkdir(parents=True, exist_ok=True)
    (root / "etc/ssl/certs/ca-certificates.crt").write_text("".join(one.read_text() for one in certificates))


def _merge(folder: Path, into: Path) -> None:
    """Move what packages still put into /lib to /usr/lib."""
    if folder.is_dir():
        shutil.copytree(folder, into, symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(folder)


def _busybox(root: Path, without: tuple[str, ...]) -> None:
    found = all_parts()["busybox"].find()
    if found is None:
        raise PartError(f"busybox is not here: {all_parts()['busybox'].how_to_get}")
    said = subprocess.run([found.path, "--list"], capture_output=True, text=True, check=True).stdout
    (root / "usr/bin").mkdir(parents=True)
    shutil.copy(found.path, root / "usr/bin/busybox")
    for applet in said.split():
        if applet not in ("busybox", *without):
            (root / "usr/bin" / applet).symlink_to("busybox")


def passwd(*lines: str, groups: tuple[str, ...] = ()) -> dict[str, str | Path]:
    """/etc/passwd and /etc/group with users beside root."""
    return {
        "etc/passwd": _ETC["etc/passwd"] + "".join(f"{line}\n" for line in lines),
        "etc/group": _ETC["etc/group"] + "".join(f"{line}\n" for line in groups),
    }


libc = debian.packages("libc", *debian.BASE)
LIBC = Layer(
    "libc",
    repr((libc.recipe, _ETC)),
    _fill_libc,
    (Folder("tmp", mode=0o1777), Folder("root", mode=0o700), Folder("run"), Folder("var/tmp", mode=0o1777)),
)
BUSYBOX = Layer("busybox", f"{_VERSION}, all applets", lambda root: _busybox(root, ()))
SHELL = Layer("shell", f"{_VERSION} without {_CLIENTS}", lambda root: _busybox(root, _CLIENTS))

ALPINE = (LIBC, BUSYBOX)
"""As Alpine's images have it: a shell with wget. The C library is Debian's, as the programs are."""
SLIM = (LIBC, SHELL)
"""As Debian's and Ubuntu's images have it: a shell, and no HTTP client."""
BASH = debian.packages("bash", "bash")
CURL = debian.packages("curl", "curl")


def _fill_python(root: Path) -> None:
    _python.fill(root)
    (root / "usr/bin/python").symlink_to("python3.11")
    (root / "usr/bin/python3").unlink(missing_ok=True)
    (root / "usr/bin/python3").symlink_to("python3.11")
    compiled(root, root / "usr/lib/python3.11")


_python = debian.packages(
    "python", "python3.11", without=("libtirpc*", "libnsl2", "libdb5.3", "libk*", "libgssapi*")
)
PYTHON = Layer("python", f"{_python.recipe}, compiled", _fill_python)
