"""Layers of programs that `make parts` brings."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from tools.images.layer import Folder, Layer
from tools.parts import all_parts
from tools.parts.part import PartError


def part_programs(part: str, places: Mapping[str, str], *folders: Folder) -> Layer:
    """Programs of a part, by the path that each has in the image."""

    def fill(root: Path) -> None:
        found = all_parts()[part].find()
        if found is None:
            raise PartError(f"{part} is not here: {all_parts()[part].how_to_get}")
        for binary, place in places.items():
            path = root / place.strip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(found[binary], path)
            path.chmod(0o755)

    return Layer(part, repr((all_parts()[part].version, dict(places))), fill, folders)
