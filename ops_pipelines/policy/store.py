"""What an object store says of an object."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class ObjectInfo:
    """One object of a bucket."""

    key: str
    size: int
    etag: str
    modified: datetime
    sha256: str | None = None
    """Digest that the store keeps for the whole object (hexadecimal), where it keeps one."""
