"""PostgreSQL, server and client. The server refuses root: start it under another uid."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tools.parts.part import Part


def _folders() -> Iterable[Path]:
    """Debian keeps the servers off PATH, a folder for each major version; the newest first."""
    folders = Path("/usr/lib/postgresql").glob("*/bin")
    return sorted(folders, key=lambda folder: float(folder.parent.name), reverse=True)


PARTS = (
    Part(
        name="postgres",
        version="15",
        binaries=("postgres", "initdb", "pg_ctl", "psql", "pg_dump", "pg_restore", "pg_basebackup"),
        how_to_get="make parts (Debian: apt-get install postgresql postgresql-client)",
        debian=("postgresql", "postgresql-client"),
        folders=_folders,
    ),
)
