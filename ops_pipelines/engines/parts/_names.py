"""Names of places that a restore makes beside a live name, in a server: databases, collections."""

from __future__ import annotations

from collections.abc import Container

from ops_pipelines.errors import PartFailed
from ops_pipelines.policy.databases import before_name, staged_name, word_of


def place_of(live: str, place: str) -> str:
    """The place beside `live` of that name, or of that word. Raises PartFailed for what is neither."""
    if word_of(live, place) is not None:
        return place
    try:
        return staged_name(live, place)
    except ValueError as error:
        raise PartFailed(str(error), remedy="name a place by a word") from error


def free_before(live: str, place: str, there: Container[str]) -> str:
    """A name for what `place` replaces that nothing has yet."""
    word = word_of(live, place) or ""
    words = (word, *(f"{word[:26]}-{number}" for number in range(2, 1000)))
    return next(name for one in words if (name := before_name(live, one)) not in there)
