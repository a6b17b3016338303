"""Take a snapshot: every part captured, stored and proved, and only then the manifest, which is the commit.

A run that is killed before the commit leaves blobs that the next run uses, and nothing that anybody lists. A
run that is killed after it leaves a whole snapshot. One part that fails means no snapshot.
"""

from __future__ import annotations

import secrets as randomness
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from ops_pipelines.engines._backup_capture import capture_part
from ops_pipelines.engines._backup_commit import commit
from ops_pipelines.engines._backup_store import Into, Tally
from ops_pipelines.engines._blobs import WORKERS, listed_sizes
from ops_pipelines.engines._hold import hold_nothing
from ops_pipelines.engines.ports import Clock, Fence, Guard, Hold, ObjectStore, PartSource, Progress, silent
from ops_pipelines.errors import PartChanged, PartFailed
from ops_pipelines.policy.fingerprints import Fingerprints
from ops_pipelines.policy.layout import Layout, snapshot_id
from ops_pipelines.policy.manifest import Manifest, Part, Question

log = structlog.get_logger()

CAPTURES = 3
"""How often a part is read where it changes before it is stored."""

Questions = Callable[[list[Part]], Sequence[Question]]


def random_suffix() -> str:
    """Six random hexadecimal digits: the end of a snapshot's id."""
    return randomness.token_hex(3)


def take_snapshot(
    stack: str,
    sources: Sequence[PartSource],
    *,
    store: ObjectStore,
    layout: Layout,
    fence: Fence,
    clock: Clock,
    scratch: Path,
    revision: int | None = None,
    declaration: str = "",
    writer: str = "",
    questions: Questions | Sequence[Question] = (),
    progress: Progress = silent,
    suffix: Callable[[], str] = random_suffix,
    parallel: int = WORKERS,
    full: bool = False,
    hold: Hold = hold_nothing,
    needs: Mapping[str, Sequence[str]] | None = None,
    secrets: Fingerprints | None = None,
    time_limit: float | None = None,
) -> Manifest:
    """Back up all `sources` as one snapshot and return its manifest, as it was read back from the bucket.

    `scratch` is a folder of this stack's own; `scratch/backup` is emptied first and last. `questions` are
    kept in the manifest, or made from the captured parts. `parallel` blobs are sent or read at once; with `full`,
    all content is read back from the bucket before the commit. After `time_limit` seconds no further file is sent, and
    nothing is committed. `hold` keeps a part still until it is read, `needs` are names of secrets by part key,
    `secrets` their fingerprints. Raises PartFailed naming the part that could not be
    captured, LeaseLost, StoreError or Unreachable; nothing is committed then."""
    _require_sources(stack, sources)
    fence.check()
    snapshot = snapshot_id(clock(), suffix())
    work = scratch / "backup"
    _empty(work)
    tally = Tally(listed_sizes(store, layout))
    into = Into(store, layout, fence, tally, progress, parallel, _deadline(clock, time_limit))
    try:
        work.mkdir(mode=0o700, parents=True)
        with hold("") as whole:
            parts = _Parts(
                work, into, clock, hold, needs or {}, log.bind(stack_name=stack, snapshot=snapshot)
            )
            taken = [parts.take(source, whole) for source in sources]
        into.prove(full=full)
        manifest = Manifest(
            snapshot=snapshot,
            stack=stack,
            created=clock().isoformat(),
            parts=tuple(taken),
            questions=tuple(questions(taken) if callable(questions) else questions),
            revision=revision,
            declaration=declaration,
            writer=writer,
            fence=fence.token,
            uploaded=sum(tally.new.values()),
            secrets=secrets,
            hooks=whole.runs,
        )
        committed = commit(manifest, store, layout, fence)
    finally:
        _empty(work)
    log.info("snapshot committed", stack_name=stack, snapshot=snapshot, parts=len(taken), bytes=committed.size,
             bytes_read=tally.read, bytes_uploaded=committed.uploaded, bytes_reused=tally.reused)  # fmt: skip
    return committed


def _require_sources(stack: str, sources: Sequence[PartSource]) -> None:
    if not sources:
        raise PartFailed(
            f"the stack {stack} has nothing to back up",
            remedy="declare a cache, a collection, a database or `backup.configuration`",
        )


@dataclass(frozen=True)
class _Parts:
    """What the parts of one backup share."""

    work: Path
    into: Into
    clock: Clock
    hold: Hold
    needs: Mapping[str, Sequence[str]]
    log: structlog.stdlib.BoundLogger
    keys: set[str] = field(default_factory=set)

    def take(self, source: PartSource, whole: Guard) -> Part:
        """One part, held still while it is read, in the bucket when this returns."""
        key = f"{source.kind}/{source.name}"
        folder = self.work / str(len(self.keys))
        folder.mkdir()
        with self.hold(key) as guard:
            if key in self.keys:
                raise PartFailed(f"two parts are named {key}", remedy="give each of them its own name")
            self.keys.add(key)
            part = self._unchanged(source, folder, guard)
        still = guard.quiesced or whole.quiesced
        part = replace(
            part,
            consistency="quiesced" if still else part.consistency,
            hooks=guard.runs,
            needs=tuple(self.needs.get(key, ())),
        )
        _empty(folder)
        self.log.info("part stored", part=part.key, files=len(part.files), bytes=part.size)
        return part

    def _unchanged(self, source: PartSource, folder: Path, guard: Guard) -> Part:
        """One part, captured and stored; again where somebody wrote to it in between, three times at most."""
        tally = self.into.tally
        for attempt in range(1, CAPTURES + 1):
            wanted = dict(tally.wanted)
            try:
                return self._captured(source, folder, guard)
            except PartChanged as error:
                if attempt == CAPTURES:
                    raise
                self.log.warning("part changed, read again", part=source.name, error=error.message)
                tally.forget(wanted)
                _empty(folder)
                folder.mkdir()
        raise AssertionError("unreachable")

    def _captured(self, source: PartSource, folder: Path, guard: Guard) -> Part:
        taken = capture_part(source, folder, self.clock, self.into.progress)
        self.into.tally.count_stored(taken.capture)
        if taken.lies_in(folder):
            guard.release()  # what is stored from here on is our own copy
        self.into.bring(taken)
        taken.capture.proved()
        return taken.part


def _deadline(clock: Clock, limit: float | None) -> Callable[[], None]:
    begun = clock()

    def in_time() -> None:
        if limit is not None and (clock() - begun).total_seconds() > limit:
            raise PartFailed(
                f"the backup was not done within {limit:g} s, its `transfer.time_limit`; nothing was committed",
                remedy="what was sent is kept, and the next backup goes on from there; or allow more time",
            )

    return in_time


def _empty(folder: Path) -> None:
    """Remove a folder of our own, and what a killed run left in it."""
    shutil.rmtree(folder, ignore_errors=True)
