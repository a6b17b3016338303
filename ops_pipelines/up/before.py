"""What must be so before `up` starts anything: each is one clear error, and nothing was changed."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ops_pipelines.adapters import _process as command
from ops_pipelines.adapters import machine
from ops_pipelines.errors import OpsError, UsageError
from ops_pipelines.settings import RUN_ENV, Settings
from ops_pipelines.up.steps import Steps

_REMEDIES = {
    errno.ENOSPC: "free some space on its disk, or set OPS_HOME to a folder on another one",
    errno.EDQUOT: "free some of your quota, or set OPS_HOME to a folder on another disk",
}
_NEEDED, _LEAST = 512 << 20, 32 << 20
"""Bytes: of a first run (a model, its copy in the bucket, databases), and below which databases fail."""
_OTHERWISE = "set OPS_HOME to a folder that you may write to"


class HomeUnusable(OpsError):
    """The home folder cannot be written to."""


@contextmanager
def usable(home: Path) -> Iterator[None]:
    """Raise HomeUnusable, and what to do, where the system refuses a file inside the `with`."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename and str(error.filename) != str(home) else ""
        raise HomeUnusable(
            f"the folder {home} cannot be used: {error.strerror or error}{where}",
            remedy=_REMEDIES.get(error.errno or 0, _OTHERWISE),
        ) from error


@contextmanager
def room(home: Path) -> Iterator[None]:
    """Raise HomeUnusable where the disk has too little room to begin, or none left when something failed.

    A full disk shows itself in many ways: a database that cannot be read, a server that does not start.
    """
    _require_free(home, _NEEDED if _is_new(home) else _LEAST)
    try:
        yield
    except HomeUnusable:
        raise
    except OpsError as error:
        try:
            _require_free(home, _LEAST)
        except HomeUnusable as full:
            raise HomeUnusable(f"{full.message}; {error.message}", remedy=full.remedy) from error
        raise


def _is_new(home: Path) -> bool:
    return not (home / RUN_ENV).exists()


def _require_free(home: Path, needed: int) -> None:
    free = shutil.disk_usage(home).free
    if free < needed:
        raise HomeUnusable(
            f"the disk of {home} has {free >> 20} MiB left, and {needed >> 20} MiB are needed",
            remedy=_REMEDIES[errno.ENOSPC],
        )


def require_checkout(root: Path, settings: Settings) -> None:
    """Raise UsageError where the working folder is no checkout: Dagster's settings and the stacks are there."""
    missing = [str(path) for path in (root / "dagster.yaml", *settings.stacks_dirs) if not path.exists()]
    if missing:
        raise UsageError(
            f"`up` does not find {' and '.join(missing)}",
            remedy="run it in a checkout of ops-pipelines (`make run` does), or set OPS_STACKS_DIR to your stacks",
        )


def require_corpus(settings: Settings) -> None:
    """Raise UsageError where the folder that is to be embedded is none."""
    if settings.demo_corpus is not None and not settings.demo_corpus.is_dir():
        raise UsageError(
            f"OPS_DEMO_CORPUS is {settings.demo_corpus}, which is no folder",
            remedy="name a folder of Markdown or text, or leave it out: the project's own documents are then taken",
        )


def port_is_free(port: int) -> bool:
    """Whether a program could listen on a port of 127.0.0.1 now."""
    return machine.port_state(port) == "free"


def find_ollama(settings: Settings, steps: Steps) -> Path | None:
    """The ollama program that OPS_OLLAMA names, or the one on PATH, if it runs.

    Raises UsageError where the one that was named does not. One on PATH that does not run (a version manager's
    stand-in for a tool that is not installed) is passed over with a line.
    """
    named = settings.given.get("OPS_OLLAMA")
    found = shutil.which(named or "ollama", path=settings.environ.get("PATH"))
    try:
        if found is not None:
            command.run([found, "--version"], timeout=20, remedy="", environ=settings.environ)
            return Path(found).absolute()
        problem = "no such program"
    except OpsError as error:
        problem = error.message
    if named:
        raise UsageError(
            f"OPS_OLLAMA is {named}, which does not run: {problem}",
            remedy="name the ollama program, or leave it out: the example model server is then taken",
        )
    if found is not None:
        steps.say(f"[yellow]note[/]    {found} does not run; the example model server is taken")
    return None
