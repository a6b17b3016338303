"""`Stack`: one LLM system that is operated as a whole, as its YAML file declares it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ops_pipelines.stack.adapters import Adapters
from ops_pipelines.stack.base import Declared
from ops_pipelines.stack.components import Component, Target
from ops_pipelines.stack.data import Bucket, Collection, Database, Model, ModelCache, Volume
from ops_pipelines.stack.operations import Backup, Drill, Notify, Observe, Scaling, Smoke
from ops_pipelines.stack.references import SecretRef
from ops_pipelines.stack.units import Name, Size


class Stack(Declared):
    """One LLM system that is operated as a whole."""

    stack: Name
    """Name of the stack: its group in the UI and its folder in the bucket."""
    description: str
    owners: Annotated[list[str], Field(min_length=1)]
    """Who is asked when it breaks: an e-mail address, or `team:NAME`."""
    target: Target
    secrets: dict[Name, SecretRef] = Field(default_factory=dict)
    """References to secrets, `${NAME}` or `file:PATH`; never a value."""
    secret_lengths: dict[Name, Annotated[int, Field(ge=1, le=4096)]] = Field(default_factory=dict)
    """Characters that the value of a secret must have at least, by its name; a deploy is refused with fewer."""
    cards: list[Size] = Field(default_factory=list)
    """Memory of each graphics card of the machine, by its index."""
    components: dict[Name, Component] = Field(default_factory=dict)
    adapters: Adapters | None = None
    """Adapters that are added by one line each."""
    caches: dict[Name, ModelCache] = Field(default_factory=dict)
    models: dict[Name, Model] = Field(default_factory=dict)
    collections: dict[Name, Collection] = Field(default_factory=dict)
    databases: dict[Name, Database] = Field(default_factory=dict)
    volumes: dict[Name, Volume] = Field(default_factory=dict)
    buckets: dict[Name, Bucket] = Field(default_factory=dict)
    backup: Backup | None = None
    drill: Drill = Drill()
    observe: Observe = Observe()
    scaling: dict[Name, Scaling] = Field(default_factory=dict)
    smoke: Smoke | None = None
    notify: Notify = Notify()
