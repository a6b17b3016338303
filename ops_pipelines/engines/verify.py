"""Is everything that a snapshot names still in the bucket, and still what it was?

The three answers of a check: good, bad, and could not be observed. A store that does not answer makes the
last, which never counts as the first. Marks are written by the caller.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from threading import Lock
from typing import Literal

from ops_pipelines.engines._blobs import MANY, in_parallel
from ops_pipelines.engines.ports import ObjectStore, Progress, silent
from ops_pipelines.errors import ObjectMissing, OpsError, Unreachable
from ops_pipelines.policy.layout import Layout
from ops_pipelines.policy.manifest import Manifest, Part
from ops_pipelines.policy.plan import Finding

Depth = Literal["listed", "sizes", "checksums"]
"""`listed`: every blob is there. `sizes`: and has its size; of up to 256 blobs also the checksum that the store keeps
(more are looked at by a listing, which tells none).
`checksums`: and its content, read and hashed, is what it was."""

_GOOD = ""
_REMEDY = (
    "take a new backup, which stores the blob again where the stack still has it; until then restore another"
)


def verify_snapshot(
    manifest: Manifest,
    *,
    store: ObjectStore,
    layout: Layout,
    depth: Depth,
    progress: Progress = silent,
) -> tuple[Finding, ...]:
    """Compare the bucket with a manifest: one Finding per bad file, and one per part that is good or unknown.

    A bad file's Finding names part, path and digest. Where the store cannot be asked, the part is unknown
    (`ok` None). `progress` gets bytes (depth `checksums`) or blobs."""
    wanted = dict(manifest.blobs())
    try:
        states = _look(store, layout, wanted, depth, progress)
    except OpsError as error:
        return tuple(
            Finding(part.key, None, f"could not be verified: {error.message}", error.remedy)
            for part in manifest.parts
        )
    findings: list[Finding] = []
    for part in manifest.parts:
        files = [entry for entry in part.files if entry.link is None]
        bad = [entry for entry in files if states[entry.sha256] not in (None, _GOOD)]
        unknown = sum(1 for entry in files if states[entry.sha256] is None)
        findings += [
            Finding(part.key, False, f"{entry.path}: the blob {entry.sha256} {states[entry.sha256]}", _REMEDY)
            for entry in bad
        ]
        if unknown:
            findings.append(
                Finding(part.key, None, f"{unknown} of {len(files)} files could not be verified",
                        "look whether the object store answers, and verify again")
            )  # fmt: skip
        elif not bad:
            findings.append(
                Finding(part.key, True, f"{len(files)} files, {part.size} bytes: as recorded{_sealed(part)}")
            )
    return tuple(findings)


def _sealed(part: Part) -> str:
    return f"; encrypted for {', '.join(part.recipients)}" if part.recipients else ""


def _look(
    store: ObjectStore, layout: Layout, wanted: Mapping[str, int], depth: Depth, progress: Progress
) -> dict[str, str | None]:
    """What is wrong with each blob: nothing (''), words, or None where the store could not be asked."""
    if depth == "checksums":
        return _hash_all(store, layout, wanted, progress)
    if len(wanted) > MANY:
        sizes = {layout.digest_of(info.key): info.size for info in store.list(layout.blobs)}
        progress("verify", len(wanted), len(wanted), "blobs")
        return {
            digest: _compare(size, sizes.get(digest), None, digest, depth) for digest, size in wanted.items()
        }

    def ask(digest: str) -> str:
        info = store.head(layout.blob(digest))
        size, stored = (None, None) if info is None else (info.size, info.sha256)
        return _compare(wanted[digest], size, stored, digest, depth)

    states = dict(zip(wanted, in_parallel(ask, wanted), strict=True))
    progress("verify", len(wanted), len(wanted), "blobs")
    return dict(states)


def _compare(wanted: int, size: int | None, stored: str | None, digest: str, depth: Depth) -> str:
    if size is None:
        return "is missing"
    if depth == "sizes" and size != wanted:
        return f"has {size} bytes instead of {wanted}"
    if depth == "sizes" and stored not in (None, digest):
        return f"is altered: the store keeps the checksum {stored} for it"
    return _GOOD


def _hash_all(
    store: ObjectStore, layout: Layout, wanted: Mapping[str, int], progress: Progress
) -> dict[str, str | None]:
    """Read and hash every blob. Once the store stops answering, the rest is unknown and not asked for."""
    total, lock = sum(wanted.values()), Lock()
    read, gone = 0, False

    def ask(digest: str) -> str | None:
        nonlocal read, gone
        if gone:
            return None
        seen, size = hashlib.sha256(), 0
        try:
            for piece in store.pieces(layout.blob(digest), wanted[digest]):
                seen.update(piece)
                size += len(piece)
                with lock:
                    read += len(piece)
                    progress("verify", read, total, "bytes")
        except ObjectMissing:
            return "is missing"
        except OpsError as error:
            gone = gone or isinstance(error, Unreachable)
            return None
        if size != wanted[digest]:
            return f"has {size} bytes instead of {wanted[digest]}"
        return _GOOD if seen.hexdigest() == digest else "is altered: its content has another digest"

    return dict(zip(wanted, in_parallel(ask, wanted), strict=True))
