"""Redis: its server and its command line."""

from __future__ import annotations

from tools.parts.part import Part

PARTS = (
    Part(
        name="redis",
        version="7",
        binaries=("redis-server", "redis-cli"),
        how_to_get="make parts (Debian: apt-get install redis-server)",
        debian=("redis-server",),
    ),
)
