"""A part whose files are not here: a container beside them reads it and puts it back, one verb at a time.

The container brings the content to the bucket, or from it, by itself. What comes back is the part as it stands in a
manifest, findings, names of places.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ops_pipelines.engines.ports import Capture, Captured, Fetch, PartTarget, Progress, silent
from ops_pipelines.policy.manifest import Part
from ops_pipelines.policy.one_off import DATA
from ops_pipelines.policy.plan import Finding, Step


class Ask(Protocol):
    """Has one verb done beside the data, and returns its answer (JSON). Raises what the verb raised there."""

    def __call__(self, verb: str, arguments: Mapping[str, Any], progress: Progress) -> Any: ...


Stored = Callable[[Progress], tuple[Part, frozenset[str]]]
"""Stores the part, and returns it with the digests of the blobs that were new."""


@dataclass(frozen=True)
class ElsewhereSource:
    """One part that a container stores."""

    kind: str
    name: str
    store: Stored

    def capture(self, scratch: Path, progress: Progress) -> Capture:
        """The part, its content stored already, encrypted where it is to be."""
        del scratch
        part, new = self.store(progress)
        return Capture(
            files=tuple(
                Captured(
                    entry,
                    None,
                    None if entry.link is not None else "now" if entry.sha256 in new else "before",
                )
                for entry in part.files
            ),
            facts=part.facts,
            consistency=part.consistency,
            folders=part.folders,
            recipients=part.recipients,
        )


@dataclass(frozen=True)
class ElsewhereTarget:
    """Where a container restores one part to. `aside` takes what goes to a folder of this machine, as drills do."""

    kind: str
    name: str
    ask: Ask
    aside: PartTarget

    def plan(self, part: Part, into: str | None) -> tuple[Step, ...]:
        """As the part's own."""
        del part
        return tuple(Step(**one) for one in self.ask("plan", {"into": into}, silent))

    def stage(self, part: Part, into: str | None, fetch: Fetch, progress: Progress) -> str:
        """As the part's own; the container fetches by itself."""
        if into is not None and "/" in into and _is_here(into):
            return self.aside.stage(part, into, fetch, progress)
        return str(self.ask("stage", {"into": into}, progress))

    def check(self, part: Part, place: str, *, full: bool) -> tuple[Finding, ...]:
        """As the part's own."""
        if _is_here(place):
            return self.aside.check(part, place, full=full)
        return tuple(Finding(**one) for one in self.ask("check", {"place": place, "full": full}, silent))

    def switch(self, part: Part, place: str) -> str:
        """As the part's own."""
        del part
        return str(self.ask("switch", {"place": place}, silent))

    def discard(self, place: str) -> None:
        """As the part's own."""
        if _is_here(place):
            self.aside.discard(place)
        else:
            self.ask("discard", {"place": place}, silent)

    def leftovers(self) -> tuple[str, ...]:
        """As the part's own."""
        return tuple(str(one) for one in self.ask("leftovers", {}, silent))


def _is_here(place: str) -> bool:
    """Whether a place is a folder of this machine, and not one beside the live data."""
    return not place.startswith(f"{DATA}/")
