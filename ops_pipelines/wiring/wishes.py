"""What a person asks of a restore, by the command line or the launchpad: the same words, the same refusals."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ops_pipelines.engines.models import Picked
from ops_pipelines.errors import UsageError
from ops_pipelines.wiring import models
from ops_pipelines.wiring.restores import ALL, Only
from ops_pipelines.wiring.site import Site


@dataclass(frozen=True)
class Wish:
    """A snapshot put back, whole or in part."""

    parts: tuple[str, ...] = ()
    """Parts that are meant (kind/name); none named: all."""
    into: str | None = None
    """Word for a copy beside the live stack."""
    only: Only = ALL
    model: str | None = None
    """The one model that is meant."""
    into_cache: str | None = None
    into_path: Path | None = None
    allow_wrong: tuple[str, ...] = ()
    """Secrets that may be others than those of then."""

    def refuse(self, *, files: bool = False) -> None:
        """Raise UsageError where two wishes exclude each other. `files`: there is nothing but the bucket."""
        if self.only and (self.model is not None or files):
            raise UsageError(
                "--as, --filter and --partition are for a collection of a server",
                remedy="leave them out with --model and --bucket",
            )
        if self.model is not None and self.into is not None:
            raise UsageError("--into is for whole parts", remedy="with --model: --into-cache or --into-path")
        if self.model is None and (self.into_cache is not None or self.into_path is not None):
            raise UsageError(
                "--into-cache and --into-path go with --model", remedy="name a model: --model NAME"
            )
        if self.into_cache is not None and self.into_path is not None:
            raise UsageError(
                "--into-cache and --into-path are two places for one model", remedy="leave one of them out"
            )

    def picked(self, held: models.Held, site: Site | None) -> tuple[Picked, models.Target]:
        """The model that is meant, and the cache that it goes into. `site` is None where there is nothing but the
        bucket. Raises UsageError, SnapshotDamaged."""
        part, picked = held.pick(self.model or "", list(self.parts) or None)
        if self.into_path is not None:
            return picked, models.folder_target(self.into_path, picked.layout)
        if site is None:
            raise UsageError(
                "a model from the bucket alone needs a folder", remedy="name one: --into-path ./models"
            )
        return picked, models.cache_target(site, self.into_cache or part.name)
