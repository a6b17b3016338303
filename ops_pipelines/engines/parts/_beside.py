"""Places of a restore that lie as folders beside live ones, one for each replica: their names, switch and removal.

A place is named `<folder>.restore-<word>` beside the first replica's folder, and likewise beside the others'. Where the
folder is all of a mounted volume, it is `<folder>/.restore-<word>`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from ops_pipelines.engines.parts._folders import Staging, require_movable
from ops_pipelines.engines.parts._inside import Inside, is_top
from ops_pipelines.errors import PartFailed


def live_folders(roots: Sequence[Path]) -> list[Path]:
    """The folders themselves, where a declared path is a link to one."""
    return [root.resolve() for root in roots]


def copy_at(live: Sequence[Path], place: str) -> Path | None:
    """Where a place with a `/` in it is: a path of its own, which is never switched. None for one beside the live."""
    if "/" in place and not place.startswith(_prefix(live[0])):
        return Path(place).absolute()
    return None


def beside(live: Sequence[Path], place: str) -> list[Staging]:
    """The places beside the live folders that a word, or the first one's path, means. Raises PartFailed for neither."""
    word = place.removeprefix(_prefix(live[0]))
    if not word or word.strip(".") == "" or "/" in word or "\0" in word:
        raise PartFailed(f"{place!r} names no place", remedy="name a place by a word, or by a path")
    return [(Inside if is_top(root) else Staging)(Path(f"{_prefix(root)}{word}"), root) for root in live]


def _prefix(live: Path) -> str:
    """How the paths of the places begin that can replace a live folder."""
    return f"{live}/.restore-" if is_top(live) else f"{live}.restore-"


def require_replaceable(staging: Staging) -> None:
    """Raise PartFailed where the live folder of a place cannot be replaced."""
    if staging.live is not None and not isinstance(staging, Inside):
        require_movable(staging.live)


def is_whole(staging: Staging, digest: str) -> bool:
    """Whether all of the content with that digest is staged there."""
    note = staging.note()
    return note is not None and note.whole and note.part == digest


def switch_all(
    stagings: Sequence[Staging], key: str, digest: str, ready: Callable[[Staging], None] = lambda _: None
) -> str:
    """Put the places into the live folders' place, each in one step, and say where the old folders are kept.

    `ready` is called of each place once it is known to be whole. After a crash the same call does what is left.
    Raises PartFailed where one does not hold the part `key` whole, OSError."""
    for staging in stagings:
        if staging.live is None or not (staging.switching or is_whole(staging, digest)):
            raise PartFailed(
                f"{staging.path} does not hold {key} whole beside a live folder",
                remedy="restore again without naming a place; a named path is a copy and is not switched",
            )
        ready(staging)
    for staging in stagings:
        staging.begin_switch()
    old = [staging.finish_switch() for staging in stagings]
    for staging in stagings:
        staging.forget()
    return ", ".join(name for name in old if name)


def discard_all(stagings: Sequence[Staging], live: Sequence[Path], what: str) -> None:
    """Delete staged places of `what`. Where a switch has begun, it is finished: nothing live is deleted.

    Raises PartFailed for a live folder, and for one that no restore made."""
    for staging in stagings:
        if staging.path.resolve() in live:
            raise PartFailed(
                f"{staging.path} is the live folder of {what}",
                remedy="name a place that a restore made; leftovers are listed by the restore's plan",
            )
        if staging.note() is None and staging.path.exists() and staging.live is None:
            raise PartFailed(
                f"{staging.path} was not made by a restore and is not deleted",
                remedy="delete it by hand if nobody misses it",
            )
        staging.remove()


def leftovers(live: Sequence[Path]) -> tuple[str, ...]:
    """Places beside the live folders that an earlier restore or drill left, by the first replica's path."""
    words: set[str] = set()
    for root in live:
        folder, prefix = Path(_prefix(root)).parent, Path(_prefix(root)).name
        names = os.listdir(folder) if folder.is_dir() else []
        words |= {
            name.removeprefix(prefix).removesuffix(".new").removesuffix(".json")
            for name in names
            if name.startswith(prefix)
        }
    return tuple(f"{_prefix(live[0])}{word}" for word in sorted(words))
