"""Which snapshots a stack had when unused blobs were last removed.

A backup that slept past its lease may write its manifest after others took the lease over and swept the blobs that it
counts on, and may be killed before it withdraws it. So a sweep writes down, before it removes anything, what it found
committed and under which token it looked: a manifest with a lower token that it did not find is late, and is no
snapshot, whether its blobs are still there or not. (Fencing tokens: M. Kleppmann, "How to do distributed locking",
2016.)
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from ops_pipelines.errors import StoreError


@dataclass(frozen=True)
class Swept:
    """What the latest sweep that removed blobs found of one stack."""

    token: int
    """Of the stack's lease, as the sweep held it; whoever takes it afterwards has a higher one."""
    snapshots: frozenset[str]
    """Ids of all snapshots that were committed then."""

    def late(self, snapshot: str, fence: int) -> bool:
        """Whether a manifest written under the token `fence` was committed after its lease was lost."""
        return fence < self.token and snapshot not in self.snapshots


def encode(token: int, snapshots: Iterable[str]) -> bytes:
    """The record as JSON."""
    return json.dumps({"token": token, "snapshots": sorted(snapshots)}, indent=1).encode()


def decode(content: bytes, *, where: str) -> Swept:
    """The record that `content` holds. Raises StoreError where it is none: that is not the same as no sweep."""
    try:
        raw = json.loads(content)
        token, snapshots = raw["token"], raw["snapshots"]
        if not isinstance(token, int) or not all(isinstance(one, str) for one in snapshots):
            raise TypeError("its token or its snapshots are not such")
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{where} is not readable ({error}): it says which snapshots were committed in time",
            remedy="put it back from a copy; or verify the stack's snapshots by their checksums, and delete it then",
        ) from error
    return Swept(token, frozenset(snapshots))
