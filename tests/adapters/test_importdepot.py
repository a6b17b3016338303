"""Folders in which a server finds files. Buckets: tests/engines/test_bulk_import.py, by a real server."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops_pipelines.adapters.importdepot import FolderDepot
from ops_pipelines.errors import Refused


def made(tmp_path: Path, name: str) -> Path:
    path = tmp_path / name
    path.write_text(name)
    return path


def test_files_lie_where_the_server_looks_until_they_are_cleared(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    depot = FolderDepot(folder, "/var/imports/")
    for name in ("1.parquet", "2.parquet"):
        assert (
            depot.give(made(tmp_path, name), "docs__restore_a", name)
            == f"/var/imports/docs__restore_a/{name}"
        )
    assert not (tmp_path / "1.parquet").exists()
    depot.clear("docs__restore_a", "1.parquet")
    depot.clear("docs__restore_a", "1.parquet")
    assert [path.name for path in (folder / "docs__restore_a").iterdir()] == ["2.parquet"]
    assert (folder / "docs__restore_a/2.parquet").stat().st_mode & 0o777 == 0o644
    depot.clear("docs__restore_a")
    depot.clear("docs__restore_a")
    assert list(folder.iterdir()) == []


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    depot = FolderDepot(tmp_path / "none", "/srv")
    with pytest.raises(Refused, match="takes no file") as caught:
        depot.give(made(tmp_path, "1.parquet"), "docs__restore_a", "1.parquet")
    assert "bulk_import" in caught.value.remedy
