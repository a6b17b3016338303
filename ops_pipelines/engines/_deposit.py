"""The backups' bucket as a place where a part stores content while it is read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from ops_pipelines.engines._blobs import stored_sizes
from ops_pipelines.engines.ports import ObjectStore
from ops_pipelines.policy.layout import Layout
from ops_pipelines.policy.store import ObjectInfo

CopyWithin = Callable[[ObjectInfo, str, str], bool]
"""Copy an object (of the part's bucket) to a key of the backups' bucket, whose SHA-256 must then be the given
one. False where the store cannot, or cannot prove it; nothing is then left there."""


@dataclass(frozen=True)
class BlobDeposit:
    """Stores content under its digest."""

    store: ObjectStore
    layout: Layout
    copy: CopyWithin | None = None
    """Where the part's bucket is in the same store, and the same credentials may read it."""

    @property
    def copies(self) -> bool:
        """Whether the store can copy objects of the part's bucket by itself."""
        return self.copy is not None

    def there(self, sizes: Mapping[str, int]) -> Collection[str]:
        """Those digests (digest -> bytes) whose content is stored already."""
        found = stored_sizes(self.store, self.layout, sizes)
        return {digest for digest, size in found.items() if size == sizes[digest]}

    def keep(self, path: Path, sha256: str) -> None:
        """Store a file under its digest."""
        self.store.put_file(self.layout.blob(sha256), path, sha256=sha256, progress=_nobody)

    def copied(self, info: ObjectInfo, sha256: str) -> bool:
        """Let the store copy an object under its digest."""
        return self.copy is not None and self.copy(info, self.layout.blob(sha256), sha256)


def _nobody(count: int) -> None:
    """Bytes of one object are not told; the objects are."""
