"""Every key of the bucket, spelled in one place.

    <prefix>/format.json                                       version of this layout
    <prefix>/sweep.json                                        lease of whoever removes unused blobs
    <prefix>/blobs/sha256/ab/ab12...                           content, shared by all stacks and snapshots
    <prefix>/staging/<stack>/<part>/...                        files on their way to or from a database server
    <prefix>/stacks/<stack>/lease.json                         who may change the stack
    <prefix>/stacks/<stack>/drill.json                         who drills it
    <prefix>/stacks/<stack>/attempt.json                       the latest backup that was begun
    <prefix>/stacks/<stack>/revisions/00000007.json            what was deployed
    <prefix>/stacks/<stack>/charts/<sha256>.tgz                charts that revisions were made of
    <prefix>/stacks/<stack>/snapshots/swept.json               what the latest sweep found committed
    <prefix>/stacks/<stack>/snapshots/<id>/manifest.json       written last: this write is the commit
    <prefix>/stacks/<stack>/snapshots/<id>/marks/<kind>.json   verified, drilled, failed, pinned

Snapshot ids sort by time and two in one second differ: `20261121T020000Z-1f3a9c`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

FORMAT = 1
MARKS = ("verified", "drilled", "failed", "pinned")
_SNAPSHOT = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Layout:
    """Keys below one prefix of a bucket."""

    prefix: str = ""

    @property
    def root(self) -> str:
        """The prefix with its slash, or nothing."""
        return f"{self.prefix.strip('/')}/" if self.prefix.strip("/") else ""

    @property
    def format(self) -> str:
        """Key of the object that says which version of the layout this is."""
        return f"{self.root}format.json"

    @property
    def sweep(self) -> str:
        """Key of the lease under which unused blobs are removed."""
        return f"{self.root}sweep.json"

    @property
    def blobs(self) -> str:
        """Prefix of all blobs."""
        return f"{self.root}blobs/sha256/"

    def blob(self, sha256: str) -> str:
        """Key of a blob. Raises ValueError unless `sha256` is 64 hexadecimal digits."""
        if not _DIGEST.fullmatch(sha256):
            raise ValueError(f"not a SHA-256 digest: {sha256[:80]!r}")
        return f"{self.blobs}{sha256[:2]}/{sha256}"

    def digest_of(self, key: str) -> str | None:
        """Digest that a blob's key names, or None where it is no blob's key."""
        digest = key.rpartition("/")[2]
        return digest if key.startswith(self.blobs) and _DIGEST.fullmatch(digest) else None

    @property
    def staged(self) -> str:
        """Prefix of what is on its way; nothing there outlives the work that it is for."""
        return f"{self.root}staging/"

    def staging(self, stack: str, part: str) -> str:
        """Prefix of what is on its way for one part of a stack."""
        return f"{self.staged}{stack}/{part}/"

    @property
    def stacks(self) -> str:
        """Prefix of all stacks."""
        return f"{self.root}stacks/"

    def stack_of(self, key: str) -> str | None:
        """Name of the stack that a key belongs to, or None."""
        rest = key.removeprefix(self.stacks)
        return rest.split("/", 1)[0] if rest != key and "/" in rest else None

    def lease(self, stack: str) -> str:
        """Key of a stack's lease."""
        return f"{self.stacks}{stack}/lease.json"

    def drill(self, stack: str) -> str:
        """Key of the lease under which a stack is drilled."""
        return f"{self.stacks}{stack}/drill.json"

    def attempt(self, stack: str) -> str:
        """Key of what the latest backup that was begun says of itself."""
        return f"{self.stacks}{stack}/attempt.json"

    def revisions(self, stack: str) -> str:
        """Prefix of a stack's revisions."""
        return f"{self.stacks}{stack}/revisions/"

    def revision(self, stack: str, number: int) -> str:
        """Key of one revision; numbers count from 1 and sort as text."""
        return f"{self.revisions(stack)}{number:08d}.json"

    def chart(self, stack: str, sha256: str) -> str:
        """Key of a packed chart. Raises ValueError unless `sha256` is 64 hexadecimal digits."""
        if not _DIGEST.fullmatch(sha256):
            raise ValueError(f"not a SHA-256 digest: {sha256[:80]!r}")
        return f"{self.stacks}{stack}/charts/{sha256}.tgz"

    def snapshots(self, stack: str) -> str:
        """Prefix of a stack's snapshots."""
        return f"{self.stacks}{stack}/snapshots/"

    def swept(self, stack: str) -> str:
        """Key of what the latest sweep found committed; beside the snapshots, so that their listing shows it."""
        return f"{self.snapshots(stack)}swept.json"

    def manifest(self, stack: str, snapshot: str) -> str:
        """Key of a snapshot's manifest."""
        return f"{self.snapshots(stack)}{check_snapshot_id(snapshot)}/manifest.json"

    def mark(self, stack: str, snapshot: str, kind: str) -> str:
        """Key of a mark on a snapshot; `kind` is one of MARKS."""
        if kind not in MARKS:
            raise ValueError(f"no such mark: {kind!r}")
        return f"{self.snapshots(stack)}{check_snapshot_id(snapshot)}/marks/{kind}.json"

    def snapshot_of(self, key: str) -> tuple[str, str] | None:
        """(snapshot id, rest of the key) of a key below a stack's snapshots, or None."""
        stack = self.stack_of(key)
        if stack is None or not key.startswith(self.snapshots(stack)):
            return None
        snapshot, _, rest = key.removeprefix(self.snapshots(stack)).partition("/")
        return (snapshot, rest) if _SNAPSHOT.fullmatch(snapshot) else None


def snapshot_id(now: datetime, suffix: str) -> str:
    """Id of a snapshot begun at `now`; `suffix` is six random hexadecimal digits."""
    return check_snapshot_id(f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{suffix}")


def check_snapshot_id(snapshot: str) -> str:
    """The id itself. Raises ValueError where it is none, so that no key is made of a stranger's text."""
    if not _SNAPSHOT.fullmatch(snapshot):
        raise ValueError(f"not a snapshot id: {snapshot[:80]!r}")
    return snapshot


def snapshot_time(snapshot: str) -> datetime:
    """When a snapshot was begun (UTC)."""
    return datetime.strptime(check_snapshot_id(snapshot)[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
