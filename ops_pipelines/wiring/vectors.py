"""Vector collections of one stack as parts: rows of Milvus, snapshots of Qdrant."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ops_pipelines.engines._blobs import stored_sizes
from ops_pipelines.engines.parts._collection_fill import BulkImport
from ops_pipelines.engines.parts.collection import CollectionSource, CollectionTarget
from ops_pipelines.engines.parts.collection_qdrant import QdrantSource, QdrantTarget
from ops_pipelines.engines.parts.kept import Keeper, KeptCollections, KeptPoints
from ops_pipelines.engines.ports import PartSource, PartTarget
from ops_pipelines.errors import TargetUnsupported
from ops_pipelines.policy.manifest import FileEntry, Part
from ops_pipelines.wiring.buckets import bucket_store
from ops_pipelines.wiring.connect import (
    backup_of,
    component,
    endpoint,
    layout,
    object_store,
    secret,
    vector_store,
)
from ops_pipelines.wiring.site import Site

if TYPE_CHECKING:
    from ops_pipelines.adapters.qdrant import Qdrant


def collection_source(site: Site, name: str) -> PartSource:
    """What a backup reads. Raises SecretMissing, Unreachable, Refused."""
    if _kind(site, name) == "qdrant":
        return QdrantSource(name, _qdrant(site, name))
    encrypt = backup_of(site).encrypt
    sealed = encrypt is not None and encrypt.covers("collection", name)
    return CollectionSource(
        name,
        vector_store(site, name),
        sample=site.stack.drill.sample,
        # What is sealed is stored under other digests: none of it could be taken over by those of its rows.
        memory=None if sealed else site.state / "rows" / f"{name}.arrow",
        stored=partial(_stored, site),
    )


def _stored(site: Site, entries: Sequence[FileEntry]) -> set[str]:
    """Digests of the files that the bucket has, with their sizes."""
    sizes = stored_sizes(object_store(site), layout(site), {entry.sha256 for entry in entries})
    return {entry.sha256 for entry in entries if sizes.get(entry.sha256) == entry.size}


def collection_target(site: Site, part: Part, scratch: Path) -> PartTarget | None:
    """Where a restore puts it; None where the stack declares no such collection.

    Raises TargetUnsupported where the declared store is of another kind than the part's."""
    if part.name not in site.stack.collections:
        return None
    kind, engine = _kind(site, part.name), part.facts.get("engine", "milvus")
    if engine != kind:
        raise TargetUnsupported(
            f"{part.key} was kept by {engine}, and {site.name} declares a store of kind {kind}",
            remedy=f"declare a store of kind {engine}, or take its files from the bucket alone",
        )
    if kind == "qdrant":
        return QdrantTarget(part.name, _qdrant(site, part.name), scratch)
    return CollectionTarget(
        part.name, vector_store(site, part.name), scratch, bulk=_bulk_import(site, part.name)
    )


def collection_keeper(site: Site, name: str) -> Keeper:
    """What finds the collections that restores have kept."""
    if _kind(site, name) == "qdrant":
        return KeptPoints(name, _qdrant(site, name))
    others = frozenset(site.stack.collections) - {name}
    return KeptCollections(name, vector_store(site, name), others)


def _bulk_import(site: Site, name: str) -> BulkImport | None:
    """How its server is given files, where that is declared."""
    declared = site.stack.collections[name].bulk_import
    if declared is None:
        return None
    from ops_pipelines.adapters.importdepot import BucketDepot, FolderDepot

    if declared.bucket is not None:
        prefix = f"{site.stack.buckets[declared.bucket].prefix}ops-import/"
        return BulkImport(BucketDepot(bucket_store(site, declared.bucket), prefix), declared.least_rows)
    folder = declared.folder or ""
    return BulkImport(FolderDepot(Path(folder), declared.seen_as or folder), declared.least_rows)


def _kind(site: Site, name: str) -> str:
    return component(site, site.stack.collections[name].store).kind


def _qdrant(site: Site, name: str) -> Qdrant:
    from ops_pipelines.adapters.qdrant import Qdrant

    declared = site.stack.collections[name]
    return Qdrant(endpoint(site, declared.store), secret(site, declared.token))
