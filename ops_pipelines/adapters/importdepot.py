"""Where a Milvus server finds files that it reads by itself: a folder, or its own bucket.

A server that keeps its data in a bucket reads keys of that bucket; one that keeps it on a disk reads paths.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.errors import Refused

_READABLE = 0o644
"""The server may run as another user; who may see the folder is said by the folder."""


@dataclass(frozen=True)
class FolderDepot:
    """Protocol ImportDepot by a folder that the server sees too, as `seen_as`."""

    folder: Path
    seen_as: str

    @property
    def name(self) -> str:
        """How a person names it."""
        return str(self.folder)

    def give(self, path: Path, place: str, name: str) -> str:
        """Move a file there. Raises Refused where the folder cannot be written to."""
        to = self.folder / place / name
        try:
            to.parent.mkdir(exist_ok=True)
            shutil.move(path, to)
            to.chmod(_READABLE)
        except OSError as error:
            raise Refused(
                f"{self.folder} takes no file: {error.strerror or error}",
                remedy="make the folder of `bulk_import`, where both this user and the server see it",
            ) from error
        return f"{self.seen_as.rstrip('/')}/{place}/{name}"

    def clear(self, place: str, name: str | None = None) -> None:
        """Remove one file of a place, or all of them. Raises Refused."""
        try:
            if name is not None:
                (self.folder / place / name).unlink(missing_ok=True)
            elif (self.folder / place).exists():
                shutil.rmtree(self.folder / place)
        except OSError as error:
            raise Refused(
                f"files of an import are still in {self.folder / place}: {error.strerror or error}",
                remedy="remove them by hand",
            ) from error


@dataclass(frozen=True)
class BucketDepot:
    """Protocol ImportDepot by keys below `prefix` of the bucket in which the server keeps its data."""

    store: S3Store
    prefix: str

    @property
    def name(self) -> str:
        """How a person names it."""
        return f"{self.store.name}, {self.prefix}"

    def give(self, path: Path, place: str, name: str) -> str:
        """Upload a file and remove it here. Raises what the store raises."""
        key = f"{self.prefix}{place}/{name}"
        with path.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        self.store.put_file(key, path, sha256=digest, progress=lambda _: None)
        path.unlink()
        return key

    def clear(self, place: str, name: str | None = None) -> None:
        """Remove one file of a place, or all of them. Raises what the store raises."""
        prefix = f"{self.prefix}{place}/"
        keys = [one.key for one in self.store.list(prefix)] if name is None else [prefix + name]
        if keys:
            self.store.delete(keys)
