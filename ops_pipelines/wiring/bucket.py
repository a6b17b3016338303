"""A bucket and its credentials, and nothing else: list, verify and restore on an empty machine.

No stack file is read, and what only stacks need is not imported: a restore begins half a second earlier. What is
restored is files: each part in a folder of its own, `<into>/<kind>/<name>`, with
the modes and links that it had. A part is there whole or not at all.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import structlog

from ops_pipelines.adapters.age import AgeOpener
from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.engines._blobs import fetcher, stored_sizes
from ops_pipelines.engines.parts.encrypted import opening
from ops_pipelines.engines.ports import Progress, silent
from ops_pipelines.engines.snapshots import (
    SnapshotInfo,
    check_format,
    load_manifest,
    stacks_in,
)
from ops_pipelines.engines.snapshots import (
    list_snapshots as snapshots_of,
)
from ops_pipelines.engines.verify import Depth, verify_snapshot
from ops_pipelines.errors import PartFailed, SecretMissing, SnapshotDamaged, UnknownStack, UsageError
from ops_pipelines.policy.fingerprints import secret_findings
from ops_pipelines.policy.layout import Layout
from ops_pipelines.policy.manifest import Manifest, Part
from ops_pipelines.policy.plan import Finding, Plan, Step
from ops_pipelines.settings import Settings
from ops_pipelines.wiring._bucket_parts import chosen_parts, destination, free_bytes, write_part

if TYPE_CHECKING:
    from ops_pipelines.wiring.models import Held

log = structlog.get_logger()


@dataclass(frozen=True)
class OpenBucket:
    """A bucket that can be asked."""

    store: S3Store
    layout: Layout
    settings: Settings | None = None

    @property
    def opener(self) -> AgeOpener:
        """The private keys that are here, for what is encrypted."""

        def texts() -> list[str]:
            from ops_pipelines.wiring.encryption import identity_texts

            return identity_texts(self.settings) if self.settings else []

        return AgeOpener(texts)


def open_bucket(url: str, endpoint: str | None, region: str, settings: Settings) -> OpenBucket:
    """The bucket of `s3://NAME[/PREFIX]`, by the credentials of the environment; nothing is sent yet.

    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN; without them, the machine's own AWS
    credentials. Raises UsageError where the URL names no bucket, or one key comes without the other.
    """
    from ops_pipelines.wiring.connect import bucket_credentials

    parts = urlsplit(url)
    if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment or "@" in parts.netloc:
        raise UsageError("--bucket names no bucket", remedy="write it as s3://NAME or s3://NAME/PREFIX")
    access, secret, token = bucket_credentials(settings.environ)
    store = S3Store.connect(
        bucket=parts.netloc,
        endpoint=endpoint or None,
        region=region,
        access_key=access,
        secret_key=secret,
        session_token=token,
        path_style=bool(endpoint),
    )
    return OpenBucket(store, Layout(parts.path.strip("/")), settings)


def list_snapshots(opened: OpenBucket, stack: str | None = None) -> list[tuple[str, SnapshotInfo]]:
    """(stack, snapshot) of one stack or of all in the bucket, newest first for each; empty for an empty bucket.

    Raises UnknownStack where the bucket has others only, FormatTooNew, StoreError, Refused, Unreachable."""
    store, layout = opened.store, opened.layout
    check_format(store, layout)
    if stack is None:
        return [
            (name, one)
            for name in stacks_in(store, layout)
            for one in snapshots_of(store, layout, stack=name)
        ]
    found = [(stack, one) for one in snapshots_of(store, layout, stack)]
    others = stacks_in(store, layout) if not found else ()
    if others and stack not in others:
        raise UnknownStack(
            f"no stack {stack!r} is in {store.name}", remedy=f"the stacks in it: {', '.join(others)}"
        )
    return found


def verify(
    opened: OpenBucket, stack: str, snapshot: str, *, depth: Depth = "checksums", progress: Progress = silent
) -> tuple[Finding, ...]:
    """Compare a snapshot with what the bucket really holds. No mark is written.

    Raises SnapshotUnknown, SnapshotDamaged, FormatTooNew."""
    manifest = _manifest(opened, stack, snapshot)
    return verify_snapshot(manifest, store=opened.store, layout=opened.layout, depth=depth, progress=progress)


def plan_restore(
    opened: OpenBucket,
    stack: str,
    snapshot: str,
    *,
    parts: Sequence[str] | None = None,
    into: Path,
    allow_wrong: Collection[str] = (),
) -> Plan:
    """Which folders `restore` would make, and how many bytes it would bring. Nothing is written.

    Raises UsageError for a part that is not in the snapshot or a folder that is not empty."""
    from ops_pipelines.wiring import needed_secrets
    from ops_pipelines.wiring.encryption import unopened

    manifest = _manifest(opened, stack, snapshot)
    chosen = chosen_parts(manifest, parts)
    steps = tuple(
        Step("create", part.key, f"{len(part.files)} files in {destination(into, part)}", part.size)
        for part in chosen
    )
    needed, free = sum(part.size for part in chosen), free_bytes(into)
    short = free is not None and needed > free
    warnings: tuple[str, ...] = (f"{needed} bytes are needed, and {into} has {free} free",) if short else ()
    secrets = needed_secrets.warnings(_needed_secrets(opened, manifest, chosen, allow_wrong))
    warnings += (*unopened(opened.opener, chosen), *secrets)
    return Plan(f"Restore {manifest.snapshot} of {stack} as files into {into}", steps, warnings)


def restore(
    opened: OpenBucket,
    stack: str,
    snapshot: str,
    *,
    parts: Sequence[str] | None = None,
    into: Path,
    allow_wrong: Collection[str] = (),
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """Write parts of a snapshot as files below `into`, every digest checked; what was written, part by part.

    A part appears when all of it is there; a run that was cut off is gone on with by the next. Raises UsageError
    (see `plan_restore`), SnapshotUnknown, SnapshotDamaged before anything is written, ChecksumMismatch or
    PartFailed where a part could not be brought: those before it stay, it does not appear. IdentityMissing where
    nothing here opens a part, SecretMismatch where a secret that a part needs is set here to another value than that of
    then (but for those of `allow_wrong`), before anything is written."""
    manifest = _manifest(opened, stack, snapshot)
    chosen = chosen_parts(manifest, parts)
    for part in chosen:
        if part.recipients:
            opened.opener.require(part.recipients, part.key)
        destination(into, part)
    _compare_secrets(opened, manifest, chosen, allow_wrong)
    free, needed = free_bytes(into), sum(part.size for part in chosen)
    if free is not None and needed > free:
        raise PartFailed(
            f"{needed} bytes are needed, and {into} has {free} free",
            remedy="free some space, choose a folder on another disk, or restore fewer parts (--part)",
        )
    _require_blobs(opened, replace(manifest, parts=tuple(chosen)))
    fetch = fetcher(opened.store, opened.layout, manifest.snapshot, each_on_disk=False)
    if any(part.recipients for part in chosen):
        into.mkdir(mode=0o700, parents=True, exist_ok=True)
    return [
        write_part(
            part.opened,
            manifest.snapshot,
            into,
            opening(part, fetch, opened.opener) if part.recipients else fetch,
            progress,
            private=bool(part.recipients),
        )
        for part in chosen
    ]


def _compare_secrets(
    opened: OpenBucket, manifest: Manifest, parts: Sequence[Part], allowed: Collection[str]
) -> None:
    """Files do no harm without the secret: one that is not set here is told, one that is another is refused."""
    found = _needed_secrets(opened, manifest, parts, allowed)
    if not found:
        return
    from ops_pipelines.wiring import needed_secrets

    needed_secrets.require([one for one in found if one.ok is False])
    for words in needed_secrets.warnings(found):
        log.warning("secret", stack_name=manifest.stack, found=words)


def _needed_secrets(
    opened: OpenBucket, manifest: Manifest, parts: Sequence[Part], allowed: Collection[str]
) -> tuple[Finding, ...]:
    """Secrets without which the parts cannot be read once they are in use again, as they are here."""
    environ = opened.settings.environ if opened.settings else {}

    def value(name: str, reference: str | None) -> str:
        from ops_pipelines.stack.references import SecretRef, resolve

        if reference is None:
            raise SecretMissing(f"nothing says where {name} was kept", remedy="")
        return resolve(SecretRef.parse(reference), environ, Path.cwd()).get_secret_value()

    return secret_findings(manifest.secrets, parts, value, allowed)


def held(opened: OpenBucket, stack: str, snapshot: str) -> Held:
    """A snapshot whose single models are asked for. Raises SnapshotUnknown, SnapshotDamaged, FormatTooNew."""
    from ops_pipelines.wiring.models import Held

    return Held.of(_manifest(opened, stack, snapshot), opened.store, opened.layout, opened.opener)


def _manifest(opened: OpenBucket, stack: str, snapshot: str) -> Manifest:
    check_format(opened.store, opened.layout)
    return load_manifest(opened.store, opened.layout, stack, snapshot)


def _require_blobs(opened: OpenBucket, manifest: Manifest) -> None:
    wanted = dict(manifest.blobs())
    sizes = stored_sizes(opened.store, opened.layout, wanted)
    for part in manifest.parts:
        for entry in part.files:
            if entry.link is None and sizes.get(entry.sha256) != entry.size:
                raise SnapshotDamaged(
                    f"the blob {entry.sha256} ({entry.path} of {part.key}) of snapshot {manifest.snapshot} is "
                    f"missing or altered in {opened.store.name}",
                    remedy="restore other parts of it (--part), or another snapshot",
                )
