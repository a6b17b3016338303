"""When restores replaced what they kept: remembered in the home folder, as servers do not tell."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from ops_pipelines.engines.parts.kept import KeptPlace
from ops_pipelines.engines.restore import RestoreResult

_MOST = 500
"""Replaced contents that are remembered."""


def remember(state: Path, result: RestoreResult, at: datetime) -> None:
    """Note what a restore kept. Without the note an age is unknown, and nothing else is."""
    new = [[one.part, one.kept, at.isoformat()] for one in result.parts if one.kept]
    if result.switched and new:
        state.mkdir(parents=True, exist_ok=True)
        path = state / "kept.json"
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps([*_known(path), *new][-_MOST:]))
        temporary.replace(path)


def dated(state: Path, places: tuple[KeptPlace, ...]) -> tuple[KeptPlace, ...]:
    """The places with the time of their last replacement, where it is known."""
    known = _known(state / "kept.json")
    found = []
    for place in places:
        times = [at for part, kept, at in known if part == place.part and _is(kept, place.name)]
        made = datetime.fromisoformat(times[-1]) if times and place.made is None else place.made
        found.append(replace(place, made=made))
    return tuple(found)


def _is(kept: str, name: str) -> bool:
    """Whether a switch's own words are about a place. Redis tells the numbers of logical databases."""
    numbers = re.match(r"logical database ([\d, ]+) of ", kept)
    if numbers:
        return name.rpartition("@")[2] in numbers[1].split(", ")
    return name in kept.split(", ")


def _known(path: Path) -> list[list[str]]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return []
    return (
        [one for one in found if isinstance(one, list) and len(one) == 3] if isinstance(found, list) else []
    )
