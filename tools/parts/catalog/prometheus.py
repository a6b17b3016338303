"""Prometheus, and promtool, which checks rules and runs their tests."""

from __future__ import annotations

from tools.parts.part import Part

PARTS = (
    Part(
        name="prometheus",
        version="2",
        binaries=("prometheus", "promtool"),
        how_to_get="make parts (Debian: apt-get install prometheus)",
        debian=("prometheus",),
    ),
)
