"""Names in Dagster: keys, partitions, what each thing is called on the pages."""

from __future__ import annotations

import dagster as dg

from ops_pipelines.stack.model import Stack

STACK_TAG = "ops-pipelines/stack"
"""Tag of an asset, a schedule and a run: the stack that it belongs to."""

_KINDS = {"directory": "file", "process": "python", "compose": "docker"}


def key(stack: str, thing: str) -> dg.AssetKey:
    """Key of one thing of a stack."""
    return dg.AssetKey([stack, thing])


def op(stack: str, thing: str) -> str:
    """Name of the step that makes a thing, as it stands in a run's config."""
    return key(stack, thing).to_python_identifier()


def group(stack: str) -> str:
    """Group of a stack's assets; Dagster allows letters, digits and `_`."""
    return stack.replace("-", "_")


def snapshots(stack: str) -> dg.DynamicPartitionsDefinition:
    """The stack's snapshots, as partitions: the drop-down of the restore form."""
    return dg.DynamicPartitionsDefinition(name=f"{stack}_snapshots")


def owners(stack: Stack) -> list[str]:
    """Owners in the form that Dagster asks for."""
    return list(stack.owners)


def kind(word: str) -> str:
    """The kind under which Dagster has an icon for a word of the declaration, or the word itself."""
    return _KINDS.get(word, word)


def tags(stack: str) -> dict[str, str]:
    """Tags of a run that acts on a stack."""
    return {STACK_TAG: stack}
