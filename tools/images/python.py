"""Layers of Python packages, at versions that are written down."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tools.images.layer import Layer
from tools.parts import command, uv

_LOCKS = Path(__file__).parent / "locks"
_COMPILED = "compiled for 3.11"
# What does not compile is a template, and stays.
_COMPILE = """import sys, compileall, py_compile
compileall.compile_dir(sys.argv[1], stripdir=sys.argv[2], prependdir="/", quiet=2, workers=2,
                       invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
"""
_SITE = "usr/local/lib/python3.11/dist-packages"


def packages(name: str, *, drop: tuple[str, ...] = ()) -> Layer:
    """Packages of `locks/NAME.txt` for Debian's Python 3.11, less the folders that match `drop`."""
    lock = _LOCKS / f"{name}.txt"

    def fill(root: Path) -> None:
        site = root / _SITE
        command.run(
            [
                uv.binary(), "pip", "install", "--target", site, "--no-deps", "--python-version", "3.11",
                "--python-platform", "x86_64-manylinux_2_28", "--only-binary", ":all:", "--link-mode", "copy",
                "--requirements", lock,
            ],
            timeout=600,
        )  # fmt: skip
        for pattern in drop:
            for path in list(site.glob(pattern)):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        _programs(site / "bin", root / "usr/local/bin")
        compiled(root, site)

    return Layer(f"python-{name}", repr((lock.read_text(), drop, _COMPILED)), fill)


def compiled(root: Path, folder: Path) -> None:
    """Compile modules once: users of an image that may not write beside them would compile them at each start."""
    if sys.version_info[:2] == (3, 11):  # else what it makes is not read
        command.run([sys.executable, "-c", _COMPILE, folder, root], timeout=600)


def _programs(there: Path, here: Path) -> None:
    """Move the packages' programs to where PATH finds them, for the image's Python."""
    if not there.is_dir():
        return
    here.mkdir(parents=True, exist_ok=True)
    for path in sorted(there.iterdir()):
        content = path.read_bytes()
        first, _, rest = content.partition(b"\n")
        if first.startswith(b"#!") and b"python" in first:
            (here / path.name).write_bytes(b"#!/usr/bin/python3\n" + rest)
        else:
            (here / path.name).write_bytes(content)
        (here / path.name).chmod(0o755)
    shutil.rmtree(there)
