"""The parts of one stack: what a backup reads, and where a restore puts it."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog
import yaml

from ops_pipelines.engines.parts.configuration import ConfigurationSource, ConfigurationTarget
from ops_pipelines.engines.parts.elsewhere import ElsewhereSource, ElsewhereTarget
from ops_pipelines.engines.parts.model_cache import ModelCacheSource, ModelCacheTarget
from ops_pipelines.engines.parts.volume import VolumeTarget
from ops_pipelines.engines.ports import PartSource, PartTarget
from ops_pipelines.engines.questions import ask, keep_answers, pick_questions, text_field, vector_field
from ops_pipelines.errors import OpsError, TargetUnsupported, Unreachable
from ops_pipelines.policy.manifest import Manifest, Part, Question
from ops_pipelines.policy.processes import programs_to_json
from ops_pipelines.wiring import data, one_offs
from ops_pipelines.wiring.artifacts import artifact, supported
from ops_pipelines.wiring.beside import by_container, unused
from ops_pipelines.wiring.buckets import bucket_source, bucket_target
from ops_pipelines.wiring.connect import backup_of, embedder, known_secrets, served_name, vector_store
from ops_pipelines.wiring.connect import caches as replica_folders
from ops_pipelines.wiring.databases import database_source, database_target
from ops_pipelines.wiring.encryption import encrypted, opened_target
from ops_pipelines.wiring.site import Site
from ops_pipelines.wiring.vectors import collection_source, collection_target
from ops_pipelines.wiring.volumes import volume_source, volume_target

log = structlog.get_logger()

_NOWHERE = Path("/nonexistent/live")
"""The live folder of what is not here."""
DRILL = "drill"
"""Word by which a drill names its places; a restore spares them, and only a drill removes them."""


def is_drill_place(place: str) -> bool:
    """Whether a staged place is a drill's."""
    return place.endswith((f"__restore_{DRILL}", f".restore-{DRILL}"))


def sources(site: Site) -> list[PartSource]:
    """Every part that the stack declares and does not leave out."""
    caches = [
        name
        for name, one in site.stack.caches.items()
        if one.backup and not unused(site, "model_cache", name)
    ]
    volumes = [
        name for name, one in site.stack.volumes.items() if one.backup and not unused(site, "volume", name)
    ]
    beside: list[PartSource] = []
    if by_container(site):  # encrypted there, where they are to be
        keys = [("model_cache", name) for name in caches] + [("volume", name) for name in volumes]
        beside = [ElsewhereSource(kind, name, one_offs.store(site, kind, name)) for kind, name in keys]
        caches, volumes = [], []
    found: list[PartSource] = [cache_source(site, name) for name in caches]
    found += [
        collection_source(site, name)
        for name, collection in site.stack.collections.items()
        if collection.backup
    ]
    found += [
        database_source(site, name) for name, database in site.stack.databases.items() if database.backup
    ]
    found += [volume_source(site, name) for name in volumes]
    found += [bucket_source(site, name) for name, bucket in site.stack.buckets.items() if bucket.backup]
    found.append(_configuration(site))
    return [*beside, *encrypted(site, found)]


def cache_source(site: Site, name: str) -> ModelCacheSource:
    """What a backup reads of a model cache, in folders that this process can read."""
    cache = site.stack.caches[name]
    return ModelCacheSource(
        name,
        cache.replicas,
        # Of several replicas another one may have right what one has not: then all is read beforehand.
        data.inventory_of(site, name, reread_days=cache.reread_days, defer=cache.replicas == 1),
        data.wanted_of(site, name),
        data.remember(site),
    )


def targets(
    site: Site, manifest: Manifest, *, scratch: Path | None = None, chosen: Collection[str] | None = None
) -> dict[str, PartTarget]:
    """Where each part of a snapshot can be put here, by part key. A part that has no place is left out.

    `scratch` is the folder for what is on its way: one of a drill's own, which may run beside a restore. `chosen`
    are keys of the parts that are to be restored (None: all). Raises Unreachable where the server of one of these
    does not answer; another part is left out then: a destroyed stack's files come back before its servers run.
    """
    found: dict[str, PartTarget] = {}
    folder = scratch or site.scratch / "restore"
    for part in manifest.parts:
        make = _TARGETS.get(part.kind)
        try:
            target = make(site, part, manifest, folder / part.name) if make else None
        except TargetUnsupported as error:
            log.warning("part.no_place", stack_name=site.name, part=part.key, error=error.message)
            continue
        except Unreachable as error:
            if chosen is None or part.key in chosen:
                raise
            log.info("part.not_asked_for", stack_name=site.name, part=part.key, error=error.message)
            continue
        if target is not None:
            found[part.key] = opened_target(site, part, target)
    return found


def questions(site: Site) -> Callable[[list[Part]], Sequence[Question]]:
    """Asks the live stack the drill's questions, once its parts are captured, and keeps the answers.

    A stack that cannot answer just now is still backed up: the drill will say that nothing was kept.
    """

    def keep(parts: list[Part]) -> Sequence[Question]:
        kept: list[Question] = []
        for part in parts:
            if part.kind != "collection" or part.name not in site.stack.collections:
                continue
            try:
                kept += _answers(site, part.name)
            except OpsError as error:
                log.warning("questions.not_kept", stack_name=site.name, part=part.key, error=error.message)
        return kept

    return keep


def asked_collections(site: Site) -> frozenset[str]:
    """Collections whose answers are kept at backup: those that a model of the stack fills."""
    return frozenset(name for name, one in site.stack.collections.items() if one.embedding is not None)


def _answers(site: Site, collection: str) -> tuple[Question, ...]:
    model = site.stack.collections[collection].embedding
    if model is None:
        return ()
    store = vector_store(site, collection)
    schema = data.schema_of(site, collection)
    field = vector_field(schema)
    rows: Sequence[Mapping[str, Any]] = next(iter(store.rows(collection, batch=200)), ())
    texts = pick_questions(site.stack.drill.questions, rows, text_field(schema)) if rows else ()
    if not texts or field is None:
        return ()
    answers = ask(embedder(site, model), served_name(site, model), store, collection, texts, field)
    return keep_answers(collection, model, texts, answers)


def _configuration(site: Site) -> ConfigurationSource:
    rendered, target = artifact(site), site.stack.target
    # With what the environment filled in: the values that were live, but for those of secrets.
    files = {"declaration.json": site.stack.model_dump_json(indent=2).encode()}
    if rendered.programs:
        files["programs.json"] = json.dumps(programs_to_json(rendered.programs), indent=2).encode()
    elif target.kind == "compose" and supported(site):
        files["compose.yaml"] = rendered.text.encode()
    for name, component in site.stack.components.items():
        if component.kind == "litellm" and component.settings:
            files[f"{name}.litellm.yaml"] = yaml.safe_dump(component.settings, sort_keys=False).encode()
    own = target.files if target.kind == "compose" else target.values if target.kind == "kubernetes" else []
    there = [site.folder / path for path in own if (site.folder / path).exists()]
    return ConfigurationSource(
        name=site.name,
        stack_file=site.loaded.path,
        included=site.loaded.sources[1:],
        extra=[*there, *(site.folder / path for path in backup_of(site).configuration)],
        artifact=files,
        secrets=known_secrets(site),
    )


def _cache_target(site: Site, part: Part, manifest: Manifest, scratch: Path) -> PartTarget | None:
    del scratch
    declared = site.stack.caches.get(part.name)
    if declared is None or declared.layout != part.facts.get("layout", declared.layout):
        return None
    if by_container(site):
        nowhere = (_NOWHERE,) * declared.replicas
        aside = ModelCacheTarget(part.name, declared.layout, nowhere, data.inventory_of(site, part.name))
        return ElsewhereTarget(
            part.kind, part.name, one_offs.asking(site, part.kind, part.name, manifest.snapshot), aside
        )
    return ModelCacheTarget(
        part.name, declared.layout, replica_folders(site)[part.name], data.inventory_of(site, part.name)
    )


def _collection_target(site: Site, part: Part, manifest: Manifest, scratch: Path) -> PartTarget | None:
    del manifest
    return collection_target(site, part, scratch)


def _configuration_target(site: Site, part: Part, manifest: Manifest, scratch: Path) -> PartTarget | None:
    del scratch
    return ConfigurationTarget(part.name, site.state, manifest.snapshot)


def _secrets_target(site: Site, part: Part, manifest: Manifest, scratch: Path) -> PartTarget | None:
    del scratch
    return ConfigurationTarget(part.name, site.state, manifest.snapshot, kind="secrets")


def _database_target(site: Site, part: Part, manifest: Manifest, scratch: Path) -> PartTarget | None:
    del manifest
    return database_target(site, part, scratch) if part.name in site.stack.databases else None


def _volume_target(site: Site, part: Part, manifest: Manifest, scratch: Path) -> PartTarget | None:
    del scratch
    if part.name not in site.stack.volumes:
        return None
    if by_container(site):
        aside = VolumeTarget(part.name, (_NOWHERE,) * site.stack.volumes[part.name].replicas)
        return ElsewhereTarget(
            part.kind, part.name, one_offs.asking(site, part.kind, part.name, manifest.snapshot), aside
        )
    return volume_target(site, part.name)


def _bucket_target(site: Site, part: Part, manifest: Manifest, scratch: Path) -> PartTarget | None:
    del manifest
    return bucket_target(site, part.name, scratch) if part.name in site.stack.buckets else None


_TARGETS: Mapping[str, Callable[[Site, Part, Manifest, Path], PartTarget | None]] = {
    "model_cache": _cache_target,
    "collection": _collection_target,
    "configuration": _configuration_target,
    "secrets": _secrets_target,
    "database": _database_target,
    "volume": _volume_target,
    "bucket": _bucket_target,
}
