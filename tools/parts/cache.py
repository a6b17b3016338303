"""The folder where parts are kept between runs, outside the checkout: a fresh clone builds nothing twice."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


def root() -> Path:
    """`$OPS_PARTS_DIR`, else the user's cache folder."""
    if chosen := os.environ.get("OPS_PARTS_DIR"):
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "ops-pipelines" / "parts"


@contextlib.contextmanager
def filling(final: Path) -> Iterator[Path]:
    """A new folder that becomes `final` when the block ends well, so that a half-made part is never found."""
    final.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
    try:
        fresh.chmod(0o755)  # other users run these binaries too: PostgreSQL refuses root
        yield fresh
        if final.exists():  # incomplete by an older make-up of the same version
            shutil.rmtree(final)
        fresh.rename(final)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """One installer at a time in this cache; the next waits, and then finds the parts present."""
    root().mkdir(parents=True, exist_ok=True)
    with (root() / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
