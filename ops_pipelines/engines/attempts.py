"""Word that a backup leaves of itself, so that one that failed, or never ended, is known to prune.

It is written before the first part is read, and again where the backup fails. A backup that succeeds writes
nothing more: its manifest says so. One that was killed leaves the first word, which is not known to be good.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import structlog

from ops_pipelines.engines.ports import Clock, Fence, ObjectStore
from ops_pipelines.errors import ObjectMissing, OpsError, StoreError
from ops_pipelines.policy.layout import Layout
from ops_pipelines.policy.retention import Attempt

log = structlog.get_logger()

_LONGEST = 300


@contextmanager
def attempt(
    store: ObjectStore, layout: Layout, stack: str, *, fence: Fence, clock: Clock, by: str
) -> Iterator[None]:
    """Note in the bucket that a backup begins, and that it failed where the `with` ends by an error.

    The note of a run that has lost its lease does not replace that of the run after it."""
    key = layout.attempt(stack)
    word = {"fence": fence.token, "by": by}
    fence.check()
    etag = store.put(key, _encode({**word, "at": clock().isoformat(), "state": "begun"}))
    try:
        yield
    except BaseException as error:
        words = error.message if isinstance(error, OpsError) else type(error).__name__
        facts = {**word, "at": clock().isoformat(), "state": "failed", "error": _first_line(words)}
        try:
            store.put(key, _encode(facts), if_match=etag)
        except Exception as second:  # noqa: BLE001 - the error that led here is the one to tell
            log.warning("attempt not noted", stack_name=stack, problem=type(second).__name__)
        raise


def read_attempt(store: ObjectStore, layout: Layout, stack: str) -> Attempt | None:
    """The latest backup that was begun; None where none left word.

    Raises StoreError where its word cannot be read: that is not a success."""
    key = layout.attempt(stack)
    try:
        content, _ = store.get(key)
    except ObjectMissing:
        return None
    try:
        raw = json.loads(content)
        at = datetime.fromisoformat(raw["at"])
        if at.tzinfo is None:
            raise ValueError("its time has no zone")
        error = None if raw["state"] == "begun" else str(raw.get("error") or "it did not say why")
        return Attempt(at, int(raw["fence"]), error)
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise StoreError(
            f"what the latest backup of {stack} said of itself, {key}, is not readable ({problem})",
            remedy=f"take a backup (`ops-pipelines backup {stack}`), which writes it anew",
        ) from problem


def _encode(facts: dict[str, object]) -> bytes:
    return json.dumps(facts, sort_keys=True).encode()


def _first_line(words: str) -> str:
    return words.partition("\n")[0][:_LONGEST]
