"""On a disk whose files can share blocks, a copy of a model takes no room: tried on a real XFS."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops_pipelines.engines.ports import silent
from ops_pipelines.policy.plan import failed
from tests.caches import captured, fetch_from, put, target, tree
from tests.parts import require

BIG = os.urandom(1 << 20) * 64


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A mounted XFS of 400 MB. Skipped where nothing may be mounted."""
    made = require("xfs").path
    image, folder = tmp_path / "image", tmp_path / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(400 << 20)
    subprocess.run([made, "-q", "-m", "reflink=1", image], check=True)
    mounted = subprocess.run(["mount", "-o", "loop", image, folder], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"nothing may be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def free(folder: Path) -> int:
    subprocess.run(["sync", "-f", folder], check=True)
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


@pytest.mark.slow
def test_a_restore_beside_a_live_folder_shares_its_blocks(disk: Path) -> None:
    root = disk / "models"
    put(root / "tiny" / "model.safetensors", BIG)
    part, bucket = captured("directory", root)
    before = free(disk)
    restore = target("directory", root)
    fetched: list[str] = []
    place = restore.stage(part, None, fetch_from(bucket, fetched), silent)
    assert failed(restore.check(part, place, full=True)) == []
    assert fetched == []
    assert before - free(disk) < len(BIG) // 10
    (root / "tiny" / "model.safetensors").write_bytes(b"written to later")
    assert tree(Path(place))["tiny/model.safetensors"] != tree(root)["tiny/model.safetensors"]
    assert failed(restore.check(part, place, full=True)) == []
