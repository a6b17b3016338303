"""Layers of Python packages, at versions that are written down."""

from __future__ import annotations

import shutil
from pathlib import Path

from tools.images.layer import Layer
from tools.parts import command, uv

_LOCKS = Path(__file__).parent / "locks"
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

    return Layer(f"python-{name}", repr((lock.read_text(), drop)), fill)


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
