"""The Protocols that engines ask of adapters. Adapters keep to them without importing them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ops_pipelines.policy.manifest import FileEntry, FolderEntry, HookRun, Part
from ops_pipelines.policy.models import Inventory, WantedModel
from ops_pipelines.policy.plan import Finding, Step
from ops_pipelines.policy.processes import ProcessStatus, Program
from ops_pipelines.policy.readings import Reading
from ops_pipelines.policy.store import ObjectInfo
from ops_pipelines.policy.vectors import CollectionSchema, CollectionState

if TYPE_CHECKING:  # it brings numpy and pyarrow: 0.4 s that a command about nothing of the kind need not wait
    from ops_pipelines.policy.bluegreen import Look
    from ops_pipelines.policy.bluegreen_project import LiveFile
    from ops_pipelines.policy.rowcolumns import Batch

Clock = Callable[[], datetime]
"""Now, in UTC."""


class Progress(Protocol):
    """Where long work says how far it is. `step` names the work; `done` and `total` are bytes or rows."""

    def __call__(self, step: str, done: int, total: int | None, unit: str) -> None: ...


def silent(step: str, done: int, total: int | None, unit: str) -> None:
    """A Progress that says nothing."""


# --- object store ---


class ObjectStore(Protocol):
    """One bucket of an S3 store. Every write carries the content's SHA-256 and the store checks it."""

    @property
    def name(self) -> str:
        """How a person names it: `s3://bucket at endpoint`."""
        ...

    def put(self, key: str, body: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        """Write a small object and return its ETag. Raises PreconditionFailed where the condition lost."""
        ...

    def put_file(self, key: str, path: Path, *, sha256: str, progress: Callable[[int], None]) -> None:
        """Write a file whose digest is known, in parts where it is large. `progress` gets bytes as they go.

        Raises ChecksumMismatch where the file is no longer what `sha256` says; nothing is then visible."""
        ...

    def get(self, key: str) -> tuple[bytes, str]:
        """Content and ETag of a small object. Raises ObjectMissing."""
        ...

    def look(self, key: str) -> tuple[bytes, ObjectInfo]:
        """Content of a small object, with its ETag and time. Raises ObjectMissing."""
        ...

    def stream(self, key: str) -> Iterator[bytes]:
        """Content of an object in pieces of at most 8 MiB. Raises ObjectMissing before the first piece."""
        ...

    def pieces(self, key: str, size: int) -> Iterator[bytes | memoryview]:
        """The same for whoever hashes or writes at once: a piece holds good only until the next is asked for.

        `size` is what the object should have."""
        ...

    def head(self, key: str) -> ObjectInfo | None:
        """Size, ETag, time and stored SHA-256 of an object, or None where it is not there."""
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Objects whose keys begin with `prefix`, in order of their keys."""
        ...

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects. Raises StoreError that names the first one refused."""
        ...

    def unfinished_uploads(self, prefix: str) -> Iterator[tuple[str, str, datetime]]:
        """(key, upload id, begun) of multipart uploads that were never completed."""
        ...

    def abort_upload(self, key: str, upload: str) -> None:
        """Drop an unfinished multipart upload."""
        ...

    def now(self) -> datetime:
        """The store's clock (UTC, whole seconds), which all who share its leases go by."""
        ...


# --- parts ---


@dataclass(frozen=True)
class Captured:
    """One file of a part, ready to be stored: its entry, and where its bytes lie until then."""

    entry: FileEntry
    source: Path | None
    """None for a symbolic link, and for what is stored already."""
    stored: Literal["before", "now"] | None = None
    """Content that the part brought to the backups' bucket by itself: in this run, or found there. It is
    confirmed with all the rest before the commit."""
    promise: str = ""
    """Whose word the digest is (a file's name), where the content was not read yet: whoever stores it compares."""


@dataclass(frozen=True)
class Capture:
    """Everything that one part gave."""

    files: tuple[Captured, ...]
    facts: Mapping[str, Any]
    consistency: str = "fuzzy"
    folders: tuple[FolderEntry, ...] = ()
    recipients: tuple[str, ...] = ()
    """Age recipients that the files are encrypted for; none where they are in clear."""
    proved: Callable[[], None] = lambda: None
    """Called once all content was stored or compared: what was promised is so, and need not be read again."""


class PartSource(Protocol):
    """One part of a live stack, as a backup sees it."""

    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...

    def capture(self, scratch: Path, progress: Progress) -> Capture:
        """Inventory the part. Files that must be made (rows, dumps) are written below `scratch`.

        Raises PartFailed (or another OpsError) where any of it cannot be read."""
        ...


class Guard(Protocol):
    """What holds a part, or the whole stack, still while it is read."""

    def release(self) -> None:
        """Let it go. Never raises: what could not be let go is told by `runs` and by whoever made the guard."""
        ...

    @property
    def quiesced(self) -> bool:
        """Whether it was held still."""
        ...

    @property
    def runs(self) -> tuple[HookRun, ...]:
        """What was done to hold it and to let it go."""
        ...


Hold = Callable[[str], AbstractContextManager[Guard]]
"""Hold a part still (by its key; "" is the whole stack) for the time of a `with`. Raises PartFailed where it cannot."""


Fetch = Callable[[FileEntry, Path], None]
"""Bring a file's content to a path, checked against its digest; the path is only there when whole."""


class PartTarget(Protocol):
    """Where one part is restored to. Nothing live changes before `switch`."""

    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...

    def plan(self, part: Part, into: str | None) -> tuple[Step, ...]:
        """What staging and switching would do, with bytes."""
        ...

    def stage(self, part: Part, into: str | None, fetch: Fetch, progress: Progress) -> str:
        """Put the part into a new place beside the live one (`into` names it, else one is made up).

        Returns the name of the place. Calling it again after a crash starts over or goes on; never half."""
        ...

    def check(self, part: Part, place: str, *, full: bool) -> tuple[Finding, ...]:
        """Compare the place with the part: digests, counts, schema."""
        ...

    def switch(self, part: Part, place: str) -> str:
        """Make the place the live one in one step and say where the old one is kept."""
        ...

    def discard(self, place: str) -> None:
        """Remove a place that `stage` made. A place that is live is refused."""
        ...

    def leftovers(self) -> tuple[str, ...]:
        """Places that an earlier, killed restore or drill left."""
        ...


# --- vectors and models ---


class VectorStore(Protocol):
    """A vector database. `name` is a physical collection or an alias."""

    def state(self, name: str) -> CollectionState | None: ...
    def collections(self) -> tuple[str, ...]: ...
    def aliases(self) -> Mapping[str, str]:
        """Alias -> physical collection."""
        ...

    def create(self, name: str, schema: CollectionSchema, *, given_keys: bool = False) -> None:
        """Create an empty collection. With `given_keys` its rows will come with their keys, auto_id or not."""
        ...

    def build_indexes(self, name: str, schema: CollectionSchema) -> None: ...
    def load(self, name: str) -> None: ...
    def drop(self, name: str) -> None: ...
    def rename(self, name: str, new: str) -> None: ...
    def point_alias(self, alias: str, name: str) -> None:
        """Create or move an alias in one step."""
        ...

    def version(self) -> str:
        """Name and version of the server."""
        ...

    def rows(
        self,
        name: str,
        *,
        batch: int = 1000,
        fields: Sequence[str] | None = None,
        partition: str | None = None,
    ) -> Iterator[Sequence[Mapping[str, Any]]]:
        """All rows (of one partition, where named) with all fields, or those asked for and the primary key,
        in order of the primary key, at most `batch` at a time."""
        ...

    def batches(
        self, name: str, *, batch: int = 8000, partition: str | None = None
    ) -> Generator[Batch, None, None]:
        """All rows with all fields in order of the primary key, as Arrow columns, at most `batch` at a time."""
        ...

    def get(self, name: str, keys: Sequence[str | int]) -> Sequence[Mapping[str, Any]]:
        """Rows by primary key, in the order asked; absent ones are left out."""
        ...

    def insert(
        self, name: str, rows: Sequence[Mapping[str, Any]], *, partition: str | None = None
    ) -> None: ...
    def upsert(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None: ...
    def begin_import(self, name: str, file: str, *, partition: str | None = None) -> int:
        """Have the server read a file of rows by itself; `file` is where it finds it. The number of the task."""
        ...

    def finish_import(self, task: int) -> int:
        """Wait until a file was read, and say how many rows it gave. Raises Refused with the server's reason."""
        ...

    def delete(self, name: str, keys: Sequence[str | int]) -> None: ...
    def flush(self, name: str) -> None: ...
    def count(self, name: str) -> int: ...
    def search(
        self, name: str, vectors: Sequence[Sequence[float]], *, field: str, limit: int
    ) -> list[list[tuple[str | int, float]]]:
        """(key, distance) of the nearest rows for each vector, nearest first."""
        ...


class ImportDepot(Protocol):
    """Where files lie that a vector database reads by itself."""

    @property
    def name(self) -> str:
        """How a person names it."""
        ...

    def give(self, path: Path, place: str, name: str) -> str:
        """Take a file over (`path` is gone then), under a place's name: the address by which the server finds it."""
        ...

    def clear(self, place: str, name: str | None = None) -> None:
        """Remove one file of a place, or all of them. What is not there is nothing."""
        ...


TakeInventory = Callable[[int, Progress], Inventory]
"""The inventory of one replica of a model cache (0 is the first), read now."""


class ModelSource(Protocol):
    """Where models of one scheme (`ollama:`, `hf:`, `package:`) come from."""

    def fetch(self, model: WantedModel, root: Path, layout: str, progress: Progress) -> str:
        """Bring a model into the cache at `root` and return its revision. What is there is not fetched again,
        and a killed call leaves a download that the next one goes on with, never half a model.

        Raises Refused that names the model (missing, gated: with its licence page), or Unreachable."""
        ...

    def probe(self, model: WantedModel) -> Finding:
        """Whether the model could be fetched: good, missing or gated; None where its source does not answer."""
        ...


class Embedder(Protocol):
    """A server that turns texts into vectors."""

    def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]: ...
    def models(self) -> tuple[str, ...]:
        """Names that it can answer for."""
        ...


# --- processes ---


class Supervisor(Protocol):
    """What keeps plain processes running."""

    def status(self) -> Mapping[str, ProcessStatus]:
        """Programs it knows, by name. Raises Unreachable."""
        ...

    def programs(self) -> Mapping[str, str]:
        """Digest of each program as it was last applied, by name."""
        ...

    def apply(self, program: Program, environment: Mapping[str, str]) -> None:
        """Add or replace one program and start it. `environment` holds the resolved secrets."""
        ...

    def start(self, name: str) -> None: ...
    def stop(self, name: str) -> None: ...
    def remove(self, name: str) -> None:
        """Stop a program and forget it."""
        ...

    def log_tail(self, name: str, size: int = 4000) -> str:
        """The end of what a program printed, standard error included."""
        ...


class Proxies(Protocol):
    """Proxies that read their configuration anew without dropping a connection."""

    def files(self) -> tuple[LiveFile, ...]: ...
    def write(self, file: LiveFile, text: str) -> None:
        """Change a file in place. A kill leaves the old text or the new."""
        ...

    def workers(self, container: str) -> frozenset[int]:
        """Processes of the proxy; a reload adds new ones, and the old ones end when what they began is done."""
        ...

    def check(self, container: str) -> str:
        """'' where the proxy would take its configuration as the files say it now, else what it says against it."""
        ...

    def reload(self, container: str) -> None: ...


class Traffic(Protocol):
    """Where the requests of one component, and those that failed, are counted."""

    def ready(self) -> str:
        """'' where they can be counted now, else why not. Called before the traffic moves."""
        ...

    def look(self, moved: datetime, now: datetime) -> Look:
        """Requests and errors since the traffic was moved. Never raises: what could not be read is unknown."""
        ...


class MetricsSource(Protocol):
    """Where readings come from. It never raises: what could not be read is an unknown reading."""

    def read(self, signal: str, query: str, aggregate: str, stale_after: float, now: datetime) -> Reading: ...


# --- the lease ---


class Fence(Protocol):
    """A held lease. `check` is called before every change."""

    @property
    def token(self) -> int: ...
    def check(self) -> None:
        """Raises LeaseLost where somebody else has taken the lease over."""
        ...
