"""mkfs.xfs: a file system in a file, whose files can share blocks, for tests of restores on such a disk."""

from __future__ import annotations

from tools.parts.part import Part

PARTS = (
    Part(
        name="xfs",
        version="6",
        binaries=("mkfs.xfs",),
        how_to_get="make parts (Debian: apt-get install xfsprogs)",
        debian=("xfsprogs",),
        probe=("-V",),
    ),
)
