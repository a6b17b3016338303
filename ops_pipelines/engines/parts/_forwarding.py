"""A PartTarget that hands everything on to another; who adds something to it says only what."""

from __future__ import annotations

from dataclasses import dataclass

from ops_pipelines.engines.ports import Fetch, PartTarget, Progress
from ops_pipelines.policy.manifest import Part
from ops_pipelines.policy.plan import Finding, Step


@dataclass(frozen=True)
class Forwarding:
    """As `inner`, in all that a subclass leaves alone."""

    inner: PartTarget

    @property
    def kind(self) -> str:
        """That of the part."""
        return self.inner.kind

    @property
    def name(self) -> str:
        """That of the part."""
        return self.inner.name

    def plan(self, part: Part, into: str | None) -> tuple[Step, ...]:
        """As the part's own."""
        return self.inner.plan(part, into)

    def stage(self, part: Part, into: str | None, fetch: Fetch, progress: Progress) -> str:
        """As the part's own."""
        return self.inner.stage(part, into, fetch, progress)

    def check(self, part: Part, place: str, *, full: bool) -> tuple[Finding, ...]:
        """As the part's own."""
        return self.inner.check(part, place, full=full)

    def switch(self, part: Part, place: str) -> str:
        """As the part's own."""
        return self.inner.switch(part, place)

    def discard(self, place: str) -> None:
        """As the part's own."""
        self.inner.discard(place)

    def leftovers(self) -> tuple[str, ...]:
        """As the part's own."""
        return self.inner.leftovers()
