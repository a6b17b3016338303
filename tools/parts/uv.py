"""uv, which brings what PyPI has."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tools.parts import command
from tools.parts.part import PartError

CHECKOUT = Path(__file__).resolve().parents[2]


def binary() -> str:
    """The uv that runs us, else the one on PATH, else the one that the Makefile fetched."""
    ours = CHECKOUT / ".ops-tools" / "bin" / "uv"
    found = os.environ.get("UV") or shutil.which("uv") or (str(ours) if ours.exists() else None)
    if not found:
        raise PartError("uv is not here: pip install uv, or make parts, which fetches it")
    return found


def venv_bin() -> Path:
    """Where `uv sync` puts the programs of our own dependencies."""
    return Path(os.environ.get("UV_PROJECT_ENVIRONMENT") or CHECKOUT / ".venv") / "bin"


def new_venv(folder: Path, *packages: str) -> None:
    """A virtual environment of its own, that may be moved: these packages' pins need not fit ours."""
    uv = binary()
    command.run([uv, "venv", "--quiet", "--relocatable", "--allow-existing", folder], timeout=120)
    command.run([uv, "pip", "install", "--python", folder / "bin" / "python", *packages], timeout=600)


def unpack(folder: Path, *packages: str) -> None:
    """Only the files of these packages, without what they depend on."""
    command.run([binary(), "pip", "install", "--no-deps", "--target", folder, *packages], timeout=600)
