"""The revisions of one stack: what was deployed, what stands, and how an earlier one differs from now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import structlog

from ops_pipelines.engines import revisions as engine
from ops_pipelines.engines import snapshots as listing
from ops_pipelines.engines.revisions import Revision
from ops_pipelines.errors import OpsError, RevisionUnknown, StoreError, TargetUnsupported
from ops_pipelines.policy.processes import Program, programs_from_json
from ops_pipelines.policy.programs import with_replicas
from ops_pipelines.stack.model import Stack
from ops_pipelines.wiring import data
from ops_pipelines.wiring.connect import layout, now, object_store, vector_store
from ops_pipelines.wiring.site import Site

log = structlog.get_logger()

_SCALE = "scale of "
"""How the note of a revision begins that a change of replicas left (engines/_deploy_scale.py)."""


def newest(site: Site) -> Revision | None:
    """The newest revision that can be read; None where none was recorded, or the stack has no bucket.

    One that is damaged must keep nobody from deploying or backing up: the one before it then counts.
    """
    if site.stack.backup is None:
        return None
    store, keys = object_store(site), layout(site)
    try:
        return engine.latest(store, keys, site.name)
    except StoreError as error:
        log.warning("revision.unreadable", stack_name=site.name, problem=error.message)
        return next(iter(engine.revisions(store, keys, site.name)), None)


def before(site: Site) -> tuple[Program, ...]:
    """Programs of the newest revision; none where nothing was deployed on target process."""
    return _programs(newest(site))


def _programs(found: Revision | None) -> tuple[Program, ...]:
    return programs_from_json(found.artifact) if found and found.target == "process" else ()


def read(site: Site, number: int) -> Revision:
    """One revision, of the target that the stack has now. Raises RevisionUnknown, TargetUnsupported, StoreError."""
    found = engine.revision(object_store(site), layout(site), site.name, number)
    kind = site.stack.target.kind
    if found.target != kind:
        raise TargetUnsupported(
            f"revision {number} of {site.name} was made for target {found.target}",
            remedy=f"choose a revision of target {kind} (`ops-pipelines revisions {site.name}`)",
        )
    return found


def previous(site: Site) -> int:
    """Number of the revision before the present deploy; that it was scaled since is no deploy.

    Raises RevisionUnknown where there is none.
    """
    found = engine.revisions(object_store(site), layout(site), site.name)
    deploys = [place for place, one in enumerate(found) if not one.note.startswith(_SCALE)]
    earlier = found[deploys[0] + 1 :] if deploys else ()
    if not earlier:
        raise RevisionUnknown(
            f"{site.name} has {len(found)} recorded revisions, and none before its present deploy",
            remedy=f"deploy a corrected declaration, or name one with --to (`ops-pipelines revisions {site.name}`)",
        )
    return earlier[0].number


def rows(site: Site) -> list[dict[str, Any]]:
    """The recorded revisions, newest first, as lines for people."""
    return [
        {"revision": one.number, "at": one.at, "what": one.note, "profile": one.profile, "by": one.by}
        for one in engine.revisions(object_store(site), layout(site), site.name)
    ]


def scaled(site: Site, programs: Sequence[Program]) -> Stack:
    """The declaration with the replicas that scaling has chosen, which a deploy must not undo.

    `programs` are those of the newest revision, none before a first deploy.
    """
    count = Counter(program.component for program in programs)
    chosen: dict[str, int] = {}
    for rule in site.stack.scaling.values():
        if rule.mode == "observe" or rule.owner != "ops-pipelines" or not programs:
            continue
        known = count[rule.component] or (0 if _went_to_none(site, rule.component) else None)
        if known is not None:
            chosen[rule.component] = min(max(known, rule.minimum), rule.maximum)
    return with_replicas(site.stack, chosen)


def scale_note(component: str, count: int) -> str:
    """How a revision is noted that a change of replicas left."""
    return f"{_SCALE}{component} to {count}"


def _went_to_none(site: Site, component: str) -> bool:
    """Whether a component without programs was scaled to 0, and is not just new in the declaration."""
    start = f"{_SCALE}{component} to "
    found = engine.revisions(object_store(site), layout(site), site.name)
    last = next((one.note for one in found if one.note.startswith(start)), "")
    return last == f"{start}0"


def record(site: Site, artifact: Any, by: str, note: str, *, of: Revision | None = None) -> int:
    """Record what the target was given and return its number. `of` is the earlier revision that was put back.

    A database that does not answer keeps no deploy from being recorded: its alias is then left out, and so are the
    models of caches that cannot be read.
    """
    return engine.record(
        object_store(site),
        layout(site),
        stack=site.name,
        at=now().isoformat(),
        declaration=of.declaration if of else site.loaded.digest,
        profile=of.profile if of else site.loaded.profile,
        target=site.stack.target.kind,
        artifact=artifact,
        models=_models(site),
        aliases=_aliases(site),
        by=by,
        note=note,
    ).number


def _models(site: Site) -> dict[str, str]:
    """Model -> revision of what is whole; none where the caches cannot be read from here."""
    try:
        found = data.inventories(site)
    except OpsError as error:
        log.warning("models.unknown", stack_name=site.name, error=error.message)
        return {}
    return {model.name: model.revision for one in found for model in one.models if model.complete}


def _aliases(site: Site) -> dict[str, str]:
    found: dict[str, str] = {}
    for collection in site.stack.collections:
        try:
            state = vector_store(site, collection).state(collection)
        except OpsError as error:
            log.warning("alias.unknown", stack_name=site.name, collection=collection, error=error.message)
            continue
        if state is not None:
            found[collection] = state.name
    return found


def differences(site: Site, earlier: Revision) -> tuple[str, ...]:
    """What going back to a revision does not bring back: replicas, models and rows, and how they come back."""
    try:
        return (*_replicas_differ(site, earlier), *_data_differs(site, earlier))
    except OpsError as error:
        return (f"what else differs from revision {earlier.number} is unknown: {error.message}",)


def _replicas_differ(site: Site, earlier: Revision) -> Iterator[str]:
    then = Counter(program.component for program in _programs(earlier))
    stands = Counter(program.component for program in before(site))
    for component in then:
        if stands[component] and then[component] != stands[component]:
            yield (
                f"{component} goes from {stands[component]} replicas to {then[component]}, as it was then; scale "
                "it afterwards where that is not enough"
            )


def _data_differs(site: Site, earlier: Revision) -> list[str]:
    have = {
        model.name: model.revision for one in data.inventories(site) for model in one.models if model.complete
    }
    found = [
        f"the model {name} was {revision[:12]} then and is {have.get(name, 'not there')[:12]} now"
        for name, revision in earlier.models.items()
        if have.get(name) != revision
    ]
    now_at = _aliases(site)
    found += [
        f"the collection {alias} was {physical} then and is {now_at.get(alias, 'not there or unknown')} now"
        for alias, physical in earlier.aliases.items()
        if now_at.get(alias) != physical
    ]
    if found:
        taken = listing.list_snapshots(object_store(site), layout(site), site.name)
        snapshot = next((one.id for one in taken if one.complete and one.revision == earlier.number), None)
        way = (
            f"its data is in snapshot {snapshot}: ops-pipelines restore {site.name} {snapshot}"
            if snapshot
            else f"no snapshot was taken of revision {earlier.number}"
        )
        found.append(f"a roll back brings programs back, and no data; {way}")
    return found
