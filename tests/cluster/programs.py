"""Where the programs of a cluster lie, for whoever starts them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tools.parts import all_parts

PLANE = ("etcd", "kubernetes", "kwok")
NODE = ("kubernetes", "cri", "cni", "busybox")


def control_plane() -> Mapping[str, Path]:
    """By name; a missing part is a KeyError of it."""
    return _all(PLANE)


def real_node() -> Mapping[str, Path]:
    """By name; a missing part is a KeyError of it."""
    return _all(NODE)


def _all(names: tuple[str, ...]) -> Mapping[str, Path]:
    programs: dict[str, Path] = {}
    for name in names:
        found = all_parts()[name].find()
        if found is None:
            raise KeyError(name)
        programs.update(found.binaries)
    return programs
