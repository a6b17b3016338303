"""Adapters that are added to a stack by one line each: like a component that is there, with a model of their own."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ops_pipelines.stack.base import Declared
from ops_pipelines.stack.components import Port
from ops_pipelines.stack.units import Name, Size

Source = Annotated[str, Field(pattern=r"^(ollama|hf):.+")]


class Adapter(Declared):
    """An added adapter of which more is said than its model."""

    source: Source
    """Its model, as that of `models`."""
    memory: Size | None = None
    """Memory that it takes on its card; without it, as much as the component that it is like."""
    card: Annotated[int, Field(ge=0)] | None = None
    """Index of its card; without it, the one with the most memory left."""
    port: Port | None = None
    """Port on which it is published; without it, the next free one after that of the component that it is like."""


class Adapters(Declared):
    """Adapters beside those that are declared as components. A line under `models` makes a component, a model, a cache
    (with a volume of its own on target compose) and, behind HAProxy, a backend: each a copy of that of `like`."""

    like: Name
    """Component whose service, cache and backend are copied. It serves one model, whose cache it has alone."""
    proxy: Name | None = None
    """Component (of kind `proxy`, HAProxy) in front of the adapters; without it, no route is made."""
    file: str = "/usr/local/etc/haproxy/haproxy.cfg"
    """Where the proxy finds its configuration: a mounted file with a backend named as `like`, which chooses the
    backend by the path (`use_backend %[path,field(2,/)]`)."""
    models: dict[Name, Source | Adapter] = Field(default_factory=dict)
    """Model by the adapter's name, which is that of its component and its path too: `legal: ollama:legal-llama3:8b`."""

    @property
    def added(self) -> dict[str, Adapter]:
        """What each line says, in full."""
        return {
            name: Adapter(source=one) if isinstance(one, str) else one for name, one in self.models.items()
        }
