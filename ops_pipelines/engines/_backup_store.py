"""Content of a backup's parts on its way to the bucket: what is there already, what is sent, what was counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock

from ops_pipelines.engines._backup_capture import Taken
from ops_pipelines.engines._blobs import Upload, compare, confirm, upload
from ops_pipelines.engines.ports import Capture, Fence, ObjectStore, Progress
from ops_pipelines.errors import PartFailed
from ops_pipelines.policy.layout import Layout
from ops_pipelines.policy.manifest import Part

BATCH_FILES = 512
BATCH_BYTES = 1 << 30
"""The lease is looked at again before so many files, or so many bytes, are sent."""


@dataclass
class Tally:
    """What was stored so far."""

    listed: Mapping[str, int] = field(default_factory=dict)
    """Bytes of the blobs that were in the bucket when the backup began."""
    wanted: dict[str, int] = field(default_factory=dict)
    """Bytes of the blobs that the manifest will name."""
    new: dict[str, int] = field(default_factory=dict)
    read: int = 0
    reused: int = 0

    def count_stored(self, capture: Capture) -> None:
        """What a part has stored by itself is confirmed like the rest."""
        for one in capture.files:
            if one.stored is None:
                continue
            self.wanted[one.entry.sha256] = one.entry.size
            self.read += one.entry.size
            if one.stored == "now":
                self.new[one.entry.sha256] = one.entry.size
            else:
                self.reused += one.entry.size

    def missing(self, part: Part, files: Sequence[Upload]) -> list[Upload]:
        """Files whose content the bucket has not, each content once; all of it is wanted from now on.

        Raises PartFailed where one digest stands for two sizes."""
        for file in files:
            if self.wanted.get(file.entry.sha256, file.entry.size) != file.entry.size:
                raise PartFailed(
                    f"{part.key}: {file.entry.path} has a size that its digest contradicts",
                    remedy="take the backup again once nothing writes there",
                )
        unique = {file.entry.sha256: file for file in files if file.entry.sha256 not in self.wanted}
        self.wanted |= {digest: file.entry.size for digest, file in unique.items()}
        found = [file for digest, file in unique.items() if self.listed.get(digest) != file.entry.size]
        size = sum(file.entry.size for file in files)
        self.read += size
        self.reused += size - sum(file.entry.size for file in found)
        return found

    def forget(self, wanted: Mapping[str, int]) -> None:
        """Go back to `wanted`: what was stored since is nobody's, unless it is wanted again."""
        self.wanted = dict(wanted)
        self.new = {digest: size for digest, size in self.new.items() if digest in wanted}


@dataclass(frozen=True)
class Into:
    """Where content goes."""

    store: ObjectStore
    layout: Layout
    fence: Fence
    tally: Tally
    progress: Progress
    parallel: int
    in_time: Callable[[], None]
    """Raises PartFailed where the backup takes too long."""

    def bring(self, taken: Taken) -> None:
        """Bring a part's content to the bucket, as far as it is not there yet.

        Raises PartChanged or PartFailed where it is not what was captured, LeaseLost."""
        files, tally = taken.files, self.tally
        missing = tally.missing(taken.part, files)
        moved = _told(self.progress, f"store {taken.part.key}", sum(file.entry.size for file in missing))
        sending = {id(file) for file in missing}
        compare([one for one in files if one.promise and id(one) not in sending], workers=self.parallel)
        for batch in _batches(missing):
            self.fence.check()
            upload(self.store, self.layout, batch, moved, workers=self.parallel, before=self.in_time)
            tally.new.update({file.entry.sha256: file.entry.size for file in batch})

    def prove(self, *, full: bool) -> None:
        """Prove that all that is wanted is in the bucket (`_blobs.confirm`). Raises SnapshotDamaged, PartFailed."""
        tally = self.tally
        self.progress("verify", 0, len(tally.wanted), "blobs")
        confirm(
            self.store, self.layout, tally.wanted, tally.new.keys(),
            listed=tally.listed, full=full, workers=self.parallel,
        )  # fmt: skip
        self.progress("verify", len(tally.wanted), len(tally.wanted), "blobs")
        self.in_time()


def _told(progress: Progress, step: str, total: int) -> Callable[[int], None]:
    """A function that many threads may tell of bytes as they go."""
    sent, lock = 0, Lock()

    def moved(count: int) -> None:
        nonlocal sent
        with lock:
            sent += count
            progress(step, sent, total, "bytes")

    return moved


def _batches(files: Sequence[Upload]) -> Iterator[list[Upload]]:
    batch: list[Upload] = []
    size = 0
    for file in files:
        batch.append(file)
        size += file.entry.size
        if len(batch) >= BATCH_FILES or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
