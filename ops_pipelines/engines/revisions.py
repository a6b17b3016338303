"""What was deployed: one immutable object for each revision of a stack, numbered from 1."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import structlog

from ops_pipelines.engines._blobs import in_parallel
from ops_pipelines.engines.ports import ObjectStore
from ops_pipelines.errors import ObjectMissing, PreconditionFailed, RevisionUnknown, StoreError
from ops_pipelines.policy.layout import Layout

log = structlog.get_logger()

_TRIES = 50
_WORKERS = 8


@dataclass(frozen=True)
class Revision:
    """One state that a stack was brought to, with all that is needed to bring it there again."""

    number: int
    stack: str
    at: str
    """When the deploy succeeded (ISO 8601, UTC)."""
    declaration: str
    """Digest of the stack's declaration."""
    profile: str | None
    target: str
    """`process`, `compose` or `kubernetes`."""
    artifact: Any
    """What the target was given, as JSON: programs, a Compose project, a release. Never a secret's value."""
    models: Mapping[str, str] = field(default_factory=dict)
    """Model -> digest of its files."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Alias -> physical collection."""
    by: str = ""
    """Who deployed it."""
    note: str = ""
    """Why: deploy, rollback to 3, scale embedder to 2."""


def record(
    store: ObjectStore,
    layout: Layout,
    *,
    stack: str,
    at: str,
    declaration: str,
    profile: str | None,
    target: str,
    artifact: Any,
    models: Mapping[str, str] | None = None,
    aliases: Mapping[str, str] | None = None,
    by: str = "",
    note: str = "",
) -> Revision:
    """Write the next revision of a stack and return it. Nothing that is there is ever overwritten.

    Raises ValueError where the artifact is no JSON, StoreError where no number could be had.
    """
    number = max(_numbers(store, layout, stack), default=0) + 1
    for _ in range(_TRIES):
        revision = Revision(
            number=number,
            stack=stack,
            at=at,
            declaration=declaration,
            profile=profile,
            target=target,
            artifact=artifact,
            models=dict(models or {}),
            aliases=dict(aliases or {}),
            by=by,
            note=note,
        )
        body = json.dumps(asdict(revision), sort_keys=True, ensure_ascii=False, allow_nan=False).encode()
        try:
            store.put(layout.revision(stack, number), body, if_absent=True)
        except PreconditionFailed:
            number = max(number, *_numbers(store, layout, stack)) + 1
            continue
        log.info("revision recorded", stack_name=stack, revision=number, note=note)
        return revision
    raise StoreError(
        f"no number for a revision of {stack} could be had in {_TRIES} tries",
        remedy="look who else deploys this stack all the time",
    )


def revisions(store: ObjectStore, layout: Layout, stack: str) -> tuple[Revision, ...]:
    """All revisions of a stack, newest first. One that cannot be read is logged and left out."""

    def read(number: int) -> Revision | None:
        try:
            return _read(store, layout, stack, number)
        except StoreError as error:
            log.warning("revision unreadable", stack_name=stack, revision=number, problem=error.message)
            return None

    numbers = sorted(_numbers(store, layout, stack), reverse=True)
    found = in_parallel(read, numbers, workers=_WORKERS)
    return tuple(revision for revision in found if revision is not None)


def latest(store: ObjectStore, layout: Layout, stack: str) -> Revision | None:
    """The newest revision, or None where none was ever recorded. Raises StoreError where it is damaged."""
    number = max(_numbers(store, layout, stack), default=None)
    return None if number is None else _read(store, layout, stack, number)


def revision(store: ObjectStore, layout: Layout, stack: str, number: int) -> Revision:
    """One revision. Raises RevisionUnknown naming the known ones, StoreError where it is damaged."""
    try:
        return _read(store, layout, stack, number)
    except ObjectMissing as error:
        known = sorted(_numbers(store, layout, stack), reverse=True)
        shown = ", ".join(str(one) for one in known[:10]) + (", ..." if len(known) > 10 else "")
        raise RevisionUnknown(
            f"{stack} has no revision {number}", remedy=f"known revisions, newest first: {shown or 'none'}"
        ) from error


def _read(store: ObjectStore, layout: Layout, stack: str, number: int) -> Revision:
    key = layout.revision(stack, number)
    content, _ = store.get(key)
    try:
        found = Revision(**json.loads(content))
        if (found.stack, found.number) != (stack, number):
            raise ValueError(f"it says that it is revision {found.number} of {found.stack}")
    except (ValueError, TypeError) as error:
        raise StoreError(
            f"{key} in {store.name} is damaged: {error}",
            remedy="use another revision, or deploy the declaration as it is",
        ) from error
    return found


def _numbers(store: ObjectStore, layout: Layout, stack: str) -> list[int]:
    prefix = layout.revisions(stack)
    names = (info.key.removeprefix(prefix).removesuffix(".json") for info in store.list(prefix))
    return [int(name) for name in names if name.isdecimal()]
