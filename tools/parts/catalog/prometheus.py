"""Prometheus, promtool, which checks rules and runs their tests, and amtool, which checks where alerts go."""

from __future__ import annotations

import shutil
from pathlib import Path

from tools.parts import debian
from tools.parts.part import Part


def _install_amtool(folder: Path) -> None:
    """Of Debian 13: that of Debian 12 knows no secret of a webhook or of PagerDuty from a file."""
    debian.unpack_newer("prometheus-alertmanager", folder / "x")
    (folder / "bin").mkdir()
    shutil.copy(folder / "x" / "usr" / "bin" / "amtool", folder / "bin" / "amtool")
    shutil.rmtree(folder / "x")


PARTS = (
    Part(
        name="prometheus",
        version="2",
        binaries=("prometheus", "promtool"),
        how_to_get="make parts (Debian: apt-get install prometheus)",
        debian=("prometheus",),
    ),
    Part(
        name="amtool",
        version="0.28",
        binaries=("amtool",),
        how_to_get="make parts (takes the one program out of the Debian 13 package prometheus-alertmanager)",
        install=_install_amtool,
    ),
)
