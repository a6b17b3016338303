"""Collections of one stack: what is wanted, what is there, and bringing the one to the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops_pipelines.engines import collections as collection_engine
from ops_pipelines.engines.ingest import ingest
from ops_pipelines.engines.ports import Fence, Progress, silent
from ops_pipelines.errors import OpsError, SchemaMismatch
from ops_pipelines.policy import schema_drift
from ops_pipelines.policy.manifest import Manifest
from ops_pipelines.policy.plan import Finding, Plan, Step, failed
from ops_pipelines.policy.vectors import CollectionSchema
from ops_pipelines.wiring.connect import embedder, lease, served_name, vector_store
from ops_pipelines.wiring.listing import newest_manifest
from ops_pipelines.wiring.site import Site


@dataclass(frozen=True)
class CollectionsReport:
    """What bringing the collections came to."""

    rows: tuple[Mapping[str, Any], ...]
    """One line for each collection, as a person reads it."""
    total: int
    written: int
    removed: int


def schema_of(site: Site, collection: str) -> CollectionSchema:
    """The schema that a collection is declared with."""
    return schema_drift.wanted(site.stack.collections[collection], site.stack.models)


def collection_findings(site: Site) -> tuple[Finding, ...]:
    """Each collection against its declaration, its rows against the newest snapshot's, and its dimension against
    what its model really answers."""
    found: list[Finding] = []
    kept = _Kept(site)
    for name, declared in site.stack.collections.items():
        schema = schema_of(site, name)
        seen = collection_engine.inspect(name, schema, vector_store(site, name))
        found += seen.findings
        if declared.corpus is not None and seen.state is not None and not seen.state.rows:
            remedy = f"fill it: ops-pipelines deploy {site.name}; or restore a snapshot"
            found.append(Finding(f"collection/{name}", False, "holds no rows, and has a corpus", remedy))
        if seen.state is not None and declared.backup:
            found += kept.findings(name, seen.state.rows)
        if declared.embedding is not None:
            found += dimension_findings(site, name)
    return tuple(found)


class _Kept:
    """What the newest snapshot holds, looked up once, when it is first asked for."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._manifest: Manifest | None = None
        self._error: OpsError | None = None
        self._looked = site.stack.backup is None

    def findings(self, name: str, rows: int) -> tuple[Finding, ...]:
        """Whether the collection has lost its rows since. What cannot be known is unknown, not good."""
        if not self._looked:
            self._looked = True
            try:
                self._manifest = newest_manifest(self._site)
            except OpsError as error:
                self._error = error
        if self._error is not None:
            words = f"how many rows it had is unknown: {self._error.message}"
            return (Finding(f"collection/{name}", None, words, self._error.remedy, "warning"),)
        part = self._manifest.part(f"collection/{name}") if self._manifest else None
        kept = part.facts.get("rows") if part else None
        if self._manifest is None or not isinstance(kept, int):
            return ()
        return schema_drift.shrunk(name, rows, kept, self._manifest.snapshot)


def dimension_findings(site: Site, collection: str) -> tuple[Finding, ...]:
    """The length of a vector that the model's server really gives, against field and declaration."""
    model = site.stack.collections[collection].embedding
    if model is None:
        return ()
    return collection_engine.check_dimension(
        collection,
        schema_of(site, collection),
        embedder(site, model),
        served_name(site, model),
        declared=site.stack.models[model].dimension,
    )


def plan_collections(site: Site) -> Plan:
    """Which collections would be created and filled."""
    steps: list[Step] = []
    for name, declared in site.stack.collections.items():
        state = vector_store(site, name).state(name)
        if state is None:
            steps.append(Step("create", f"collection/{name}", f"{len(declared.fields)} fields"))
        else:
            steps.append(Step("keep", f"collection/{name}", f"{state.rows} rows in {state.name}"))
        if declared.corpus is not None:
            steps.append(
                Step("change", f"collection/{name}", f"new and changed texts of {_corpus(site, name)}")
            )
    return Plan(f"Collections of {site.name}", tuple(steps))


def bring_collections(
    site: Site,
    *,
    fill: bool = True,
    progress: Progress = silent,
) -> CollectionsReport:
    """Create collections that are missing and bring them to their corpus, under the stack's lease.

    Without `fill` nothing is changed: what is there is counted. Raises SchemaMismatch where one is there with
    another shape, or (without `fill`) not there; LeaseHeld, LeaseLost.
    """
    if not fill:
        return _report([_looked_at(site, name) for name in site.stack.collections])
    if not site.stack.collections:
        return _report([])
    with lease(site, "bring the collections to their declaration") as fence:
        return _report([_bring(site, name, fence, progress) for name in site.stack.collections])


@dataclass(frozen=True)
class _Brought:
    """One collection as it was left."""

    collection: str
    holds: str
    rows: int
    note: str
    written: int = 0
    removed: int = 0


def _report(brought: Sequence[_Brought]) -> CollectionsReport:
    return CollectionsReport(
        tuple(
            {"collection": one.collection, "holds": one.holds, "rows": one.rows, "note": one.note}
            for one in brought
        ),
        sum(one.rows for one in brought),
        sum(one.written for one in brought),
        sum(one.removed for one in brought),
    )


def _looked_at(site: Site, name: str) -> _Brought:
    store = vector_store(site, name)
    seen = collection_engine.inspect(name, schema_of(site, name), store)
    bad = failed(seen.findings)
    if bad or seen.state is None:
        words = "; ".join(one.message for one in bad) or "it is not there"
        remedy = bad[0].remedy if bad else "deploy the stack, which creates it"
        raise SchemaMismatch(f"the collection {name} is not as declared: {words}", remedy=remedy)
    return _Brought(name, seen.state.name, seen.state.rows, "was there")


def _bring(site: Site, name: str, fence: Fence, progress: Progress) -> _Brought:
    declared, store = site.stack.collections[name], vector_store(site, name)
    fence.check()
    ensured = collection_engine.ensure(name, schema_of(site, name), store)
    note, written, removed = "created" if ensured.created else "was there", 0, 0
    if declared.corpus is not None and declared.embedding is not None:
        done = ingest(
            _corpus(site, name),
            name,
            embedder(site, declared.embedding),
            served_name(site, declared.embedding),
            store,
            size=declared.corpus.chunk,
            overlap=declared.corpus.overlap,
            fence=fence,
            progress=progress,
        )
        written, removed = done.added, done.removed
        note += f"; {done.files} files, {done.added} rows new, {done.removed} removed"
        if done.skipped:
            note += (
                f"; {len(done.skipped)} files not read, {done.skipped[0].source}: {done.skipped[0].reason}"
            )
        if done.kept:
            note += f"; {done.kept} rows kept of files that may only be out of reach (their folder is empty)"
    return _Brought(name, ensured.physical, store.count(name), note, written, removed)


def _corpus(site: Site, collection: str) -> Path:
    declared = site.stack.collections[collection].corpus
    return (site.folder / (declared.folder if declared else ".")).resolve()
