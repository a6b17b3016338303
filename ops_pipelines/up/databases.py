"""Dagster's databases, made before its services start: they would race to make them."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

from ops_pipelines.adapters import _process as command
from ops_pipelines.settings import Settings
from ops_pipelines.up.steps import Steps

_WITHIN = 180.0


def there_are_databases(home: Path) -> bool:
    """Whether they were all made, and by the Dagster that is installed: a newer one may want to change them."""
    try:
        return _made(home).read_text(encoding="utf-8") == metadata.version("dagster")
    except FileNotFoundError:
        return False


def make_databases(root: Path, settings: Settings, steps: Steps) -> None:
    """Make them, or bring them up to the installed version. Raises CommandFailed."""
    folder = settings.home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    with steps.step("Dagster's databases"):
        command.run(
            [sys.executable, "-m", "dagster", "instance", "migrate"],
            timeout=_WITHIN,
            remedy="look at dagster.yaml, and whether the disk is full",
            environ={**settings.environ, "DAGSTER_HOME": str(root)},
            cwd=root,
        )
        _made(settings.home).write_text(metadata.version("dagster"), encoding="utf-8")


def _made(home: Path) -> Path:
    return home / "dagster" / "made"
