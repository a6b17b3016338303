"""What a deploy asks beyond programs and machine: dimensions and models before it, an answer after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ops_pipelines.engines import collections as collection_engine
from ops_pipelines.errors import OpsError
from ops_pipelines.policy.plan import Finding
from ops_pipelines.wiring import data, model_memory
from ops_pipelines.wiring.connect import embedder, served_name, vector_store
from ops_pipelines.wiring.reaching import places_of
from ops_pipelines.wiring.site import Site
from ops_pipelines.wiring.writing import write


def smoke(site: Site, at: Mapping[str, str] | None = None) -> tuple[Finding, ...]:
    """Ask the stack what it must be able to answer: a vector and a search with it, or a few words.

    `at` gives other addresses than the declared ones, by component."""
    asked = site.stack.smoke
    if asked is None:
        return ()
    address = (at or {}).get(site.stack.models[asked.model].served_by or "")
    try:
        if site.stack.models[asked.model].role != "embedding":
            text = write(site, asked.model, asked.text, address)
            return (Finding("smoke/text", True, f"{len(text)} characters"),)
        server = embedder(site, asked.model, address)
        vector = server.embed(served_name(site, asked.model), [asked.text])[0]
        found = [Finding("smoke/embedding", True, f"a vector of {len(vector)} numbers")]
        if asked.collection is not None:
            store = vector_store(site, asked.collection)
            schema = data.schema_of(site, asked.collection)
            collection_engine.ensure(asked.collection, schema, store)
            near = store.search(asked.collection, [vector], field=schema.vectors[0].name, limit=1)
            found.append(Finding("smoke/search", len(near) == 1, f"{asked.collection} answers a search"))
    except OpsError as error:
        return (Finding("smoke", False, error.message, error.remedy),)
    return tuple(found)


def answers(site: Site) -> tuple[Finding, ...]:
    """Whether a deployed stack is ready: its declared models answer, then its smoke test."""
    at = _doors(site)
    if at is None:
        words = "the smoke test was not asked: its server cannot be reached from here"
        return (
            *model_memory.ready(site),
            Finding("smoke", None, words, "ask it from the cluster", "warning"),
        )
    return (*model_memory.ready(site), *smoke(site, at))


def _doors(site: Site) -> Mapping[str, str] | None:
    """Where the server of the smoke test's model answers, where that is not its declared port on this machine; None
    where it cannot be reached."""
    asked = site.stack.smoke
    server = site.stack.models[asked.model].served_by if asked is not None else None
    if site.stack.target.kind != "kubernetes" or server is None:
        return {}
    address = next((one.address for one in places_of(site, server) if one.address), None)
    return None if address is None else {server: address}


def for_information(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """The smoke test is that of today's declaration, which an earlier revision may rightly not answer: its
    components are healthy, and that must do. Who rolls back at night is told, and not put back to what was bad."""
    return tuple(replace(one, severity="warning") for one in findings)


def dimensions(site: Site) -> tuple[Finding, ...]:
    """Dimension of each collection against its model, asked of the server where that answers already."""
    found: list[Finding] = []
    for name, declared in site.stack.collections.items():
        if declared.embedding is None:
            continue
        asked = data.dimension_findings(site, name)
        found += [one for one in asked if one.ok is not None]
    return tuple(found)


def unused_settings(site: Site) -> tuple[Finding, ...]:
    """Settings that a process is not given: only artifacts of other targets carry them."""
    return tuple(
        Finding(
            f"component/{name}",
            False,
            "its `settings` are not given to a process",
            f"say them in components.{name}.command or .environment",
            "warning",
        )
        for name, component in site.stack.components.items()
        if component.settings and component.address is None
    )


def missing_models(site: Site) -> tuple[Finding, ...]:
    """Models that a deploy pulls first."""
    try:
        missing = [step for step in data.plan_fill(site).steps if step.verb == "fetch"]
    except OpsError as error:
        return (Finding("models", None, error.message, error.remedy, "warning"),)
    return tuple(
        Finding(step.subject, False, step.detail, "deploy pulls it first", "warning") for step in missing
    )
