"""What a person can set in the launchpad. What changes something is off unless it is asked for."""

from __future__ import annotations

from enum import Enum

import dagster as dg
from pydantic import Field


class Depth(Enum):
    """How far a verification looks. Name and value are the same, as Dagster shows the one and takes the other."""

    listed = "listed"
    sizes = "sizes"
    checksums = "checksums"
    restored = "restored"


class BlueGreen(Enum):
    """Whether new versions start beside the old ones."""

    as_declared = "as_declared"
    yes = "yes"
    no = "no"


class NoConfig(dg.Config):
    """Nothing can be set."""


class FillConfig(dg.Config):
    """Model caches."""

    apply: bool = Field(default=False, description="Pull the models that are missing. Off: say which are.")


class DeployConfig(dg.Config):
    """Deployment."""

    apply: bool = Field(default=False, description="Change what runs. Off: show the plan.")
    rollback_to: int = Field(
        default=0, description="Put this earlier revision back. 0: deploy what is declared.", ge=0
    )
    blue_green: BlueGreen = Field(
        default=BlueGreen.as_declared,
        validate_default=True,
        description="Start new versions beside the old ones, move the proxy's traffic to them and watch "
        "(`components.NAME.blue_green` of the stack file).",
    )

    @property
    def beside(self) -> bool | None:
        """What a person said of new versions beside old ones; None where that is left to the declaration."""
        return {BlueGreen.yes: True, BlueGreen.no: False}.get(self.blue_green)


class CollectionsConfig(dg.Config):
    """Vector collections."""

    apply: bool = Field(
        default=False,
        description="Create what is missing and fill it from its corpus. Off: show what differs.",
    )


class DrillConfig(dg.Config):
    """A drill."""

    full: bool = Field(default=False, description="Compare every row and every blob, not a sample.")
    snapshot: str = Field(
        default="", description="Snapshot to prove. Empty: by `drill.pick` of the stack file."
    )


class RestoreConfig(dg.Config):
    """A restore of the snapshot that was chosen as partition."""

    apply: bool = Field(default=False, description="Restore and switch over. Off: show the plan.")
    parts: list[str] = Field(
        default=[],
        description="Parts to restore, such as collection/obelisk_docs. Empty: all that can be put back here.",
    )
    into: str = Field(
        default="", description="Restore beside the live stack under this name, and switch nothing."
    )
    as_name: str = Field(
        default="",
        description="Restore the one collection that `parts` names under this other name, beside its own.",
    )
    filter: str = Field(
        default="",
        description='Only rows of that collection for which this holds, such as: year >= 2024 and lang == "de". '
        "Goes with `as_name` or `into`.",
    )
    partitions: list[str] = Field(
        default=[],
        description="Only rows of these partitions of that collection. Goes with `as_name` or `into`.",
    )
    model: str = Field(
        default="", description="Put this one model back into its cache; everything else stays as it is."
    )
    into_cache: str = Field(
        default="", description="With `model`: another model cache of the stack, of the same layout."
    )
    into_path: str = Field(
        default="",
        description="With `model`: a folder, where the run works, that holds a store of the same layout or nothing.",
    )
    allow_wrong_secrets: list[str] = Field(
        default=[], description="Secrets that may be others than those the snapshot was taken with, by name."
    )


class VerifyConfig(dg.Config):
    """What a verification reads."""

    stack: str = Field(description="Name of the stack.")
    snapshot: str = Field(default="", description="Snapshot to verify. Empty: the newest.")
    depth: Depth = Field(
        default=Depth.checksums,
        validate_default=True,
        description="What is compared: that each blob is listed, its size, all of its content, or the restored parts.",
    )


class PruneConfig(dg.Config):
    """Pruning by the stack's `backup.keep`."""

    stack: str = Field(description="Name of the stack.")
    apply: bool = Field(default=False, description="Delete. Off: show what would go, and why.")


class WarmConfig(dg.Config):
    """Models that are asked for an answer."""

    stack: str = Field(description="Name of the stack.")
    model: str = Field(default="", description="Model to ask. Empty: all of them, base models first.")


class LoadConfig(dg.Config):
    """A model that is brought into memory."""

    stack: str = Field(description="Name of the stack.")
    model: str = Field(description="Model, by its name in the stack file.")
    keep_alive: str = Field(
        default="", description="How long Ollama keeps it: 10m, -1 for good. Empty: as the server does."
    )


class UnloadConfig(dg.Config):
    """A model that is let go from memory."""

    stack: str = Field(description="Name of the stack.")
    model: str = Field(description="Model, by its name in the stack file.")


class MigrateConfig(dg.Config):
    """A move of a stack to another of its forms."""

    stack: str = Field(description="Name of the stack.")
    to: str = Field(
        default="",
        description="Form to move to: a profile, or the target that one of them has. Empty: finish.",
    )
    again: bool = Field(default=False, description="Begin anew where an earlier migration did not end.")
    finish: bool = Field(default=False, description="Stop and remove the old form, once the stack was moved.")
    volumes: bool = Field(default=False, description="With `finish`: remove the old one's volumes too.")
    apply: bool = Field(default=False, description="Do it. Off: show the plan.")


class ScaleConfig(dg.Config):
    """A scaling decision that is to be carried out."""

    stack: str = Field(description="Name of the stack.")
    scaling: str = Field(description="Name under `scaling:` of the stack.")
    current: int = Field(description="Replicas that the decision was made for.", ge=0)
    wanted: int = Field(description="Replicas that it asks for.", ge=0)
    decided: str = Field(description="When it was made (ISO 8601). A decision that is too old is refused.")
