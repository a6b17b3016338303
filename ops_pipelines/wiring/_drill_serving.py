"""The restored models of a drill, started on free ports: those that the questions need, and one of each server."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from ops_pipelines.adapters import machine
from ops_pipelines.engines.drill import Served
from ops_pipelines.engines.ports import Embedder
from ops_pipelines.errors import Refused
from ops_pipelines.policy.drills import without_card
from ops_pipelines.policy.manifest import Manifest
from ops_pipelines.stack.data import Model
from ops_pipelines.wiring import parts as part_wiring
from ops_pipelines.wiring.connect import embedder, served_name
from ops_pipelines.wiring.serving import serving
from ops_pipelines.wiring.site import Site
from ops_pipelines.wiring.writing import write

_PROMPT = "Count from one to five:"


@contextmanager
def serve(site: Site, manifest: Manifest, caches: Mapping[str, str], *, full: bool) -> Iterator[Served]:
    """Start what serves the restored `caches` (cache -> folder) and yield it; stopped when the `with` ends.

    Of each server one model is asked for an answer, the one that the questions need where there is one; with
    `full` each. A server for which no card is free is not started, and its models are named."""
    asked = {question.model for question in manifest.questions if question.model in site.stack.models}
    here = _chosen(site, caches, asked, full=full)
    needed = {
        component: site.stack.components[component].resources for component in sorted(set(here.values()))
    }
    refused = without_card(needed, machine.cards()) if needed else {}
    no_card = {model: refused[component] for model, component in here.items() if component in refused}
    hosted = {model: embedder(site, model) for model in asked if site.stack.models[model].cache is None}
    started = {model: component for model, component in here.items() if component not in refused}
    if not started:
        yield Served(hosted, {}, no_card)
        return
    with serving(site, set(started.values()), caches, word=part_wiring.DRILL) as addresses:
        servers: dict[str, Embedder] = dict(hosted)
        probes: dict[str, Callable[[], str]] = {}
        for model, component in started.items():
            if component not in addresses:
                continue
            at = addresses[component]
            if site.stack.models[model].role == "embedding":
                servers[model] = embedder(site, model, at)
                probes[model] = _vector(servers[model], served_name(site, model))
            else:
                probes[model] = _words(site, model, at)
        yield Served(servers, probes, no_card)


def _chosen(site: Site, caches: Mapping[str, str], asked: set[str], *, full: bool) -> dict[str, str]:
    """Model -> component of the models that are to answer, those of the questions first."""
    chosen: dict[str, str] = {}
    models = site.stack.models
    for name in sorted(models, key=lambda one: (one not in asked, models[one].memory or 0, one)):
        component = _startable(site, models[name], caches)
        if component is None:
            continue
        if full or name in asked or component not in chosen.values():
            chosen[name] = component
    return chosen


def _startable(site: Site, model: Model, caches: Mapping[str, str]) -> str | None:
    """The component that answers for a restored model, where it can be started here."""
    if model.served_by is None or model.cache not in caches or model.role == "adapter":
        return None
    declared = site.stack.components.get(model.served_by)
    if declared is None or declared.address is not None or not declared.ports:
        return None
    if site.stack.target.kind == "process" and not declared.command:  # an image knows its own
        return None
    return model.served_by


def _vector(server: Embedder, name: str) -> Callable[[], str]:
    def probe() -> str:
        vector = server.embed(name, [_PROMPT])[0]
        length = math.sqrt(sum(number * number for number in vector))
        if not length:
            raise Refused(f"{name} answered a vector of zeros", remedy="look at the log of its server")
        return f"gave a vector of {len(vector)} numbers"

    return probe


def _words(site: Site, model: str, at: str) -> Callable[[], str]:
    return lambda: f"wrote {len(write(site, model, _PROMPT, at))} characters"
