"""What a model cache holds: files with digests, models made of files, and how wanted differs from present."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ops_pipelines.policy.plan import Finding

ModelState = Literal["present", "missing", "partial", "corrupt", "extra", "moved"]
ModelScheme = Literal["ollama", "hf", "package"]


Stamp = tuple[int, int, int, int]
"""Size, mtime and ctime (ns) and inode of a file: whether it is still the one that was looked at."""


@dataclass(frozen=True)
class Seen:
    """One file or link of a cache as a scan met it, before its layout says what it means."""

    path: str
    size: int = 0
    sha256: str = ""
    git: str | None = None
    """Git blob id of the content, where the layout asked for it."""
    link: str | None = None
    """Target of a symbolic link, relative to the link's folder and inside the cache."""
    mode: int = 0o644
    text: str | None = None
    """Content of a note (a manifest, a ref, a listing) that tells how files make models."""
    fault: str = ""
    """What is wrong with its content whatever its name promises: it rotted on the disk."""
    unread: Stamp | None = None
    """What the system said of a file whose content was not read: `sha256` is then what its name promises."""


@dataclass(frozen=True)
class CacheFile:
    """One file of a cache: path inside it, bytes, digest of the content as it was last read."""

    path: str
    size: int
    sha256: str
    expected: str | None = None
    """Digest that its name or a manifest promises: 64 digits are SHA-256, 40 a git blob id."""
    link: str | None = None
    """Target of a symbolic link; such an entry has no content."""
    mode: int = 0o644
    git: str | None = None
    """Git blob id of the content, where `expected` is one."""
    fault: str = ""
    """What else is wrong with its content (a manifest that is not JSON, a size that was promised)."""
    unread: Stamp | None = None
    """Set where the content was not read yet, and `sha256` is what its name promises."""

    @property
    def corrupt(self) -> bool:
        """True where the content is not what was promised."""
        if self.link is not None:
            return False
        return bool(self.fault) or (
            self.expected is not None and self.expected not in (self.sha256, self.git)
        )

    @property
    def immutable(self) -> bool:
        """True where its name is its digest, so that no program ever writes into it."""
        return self.link is None and self.expected is not None and not self.corrupt


@dataclass(frozen=True)
class CacheModel:
    """One model of a cache."""

    name: str
    """As its source names it: `llama3:8b`, `sentence-transformers/all-MiniLM-L6-v2`."""
    revision: str
    """Manifest digest (ollama), commit (hf) or digest of its files (directory)."""
    files: tuple[str, ...]
    """Paths of its files, links and notes included."""
    size: int
    complete: bool = True
    tags: tuple[str, ...] = ()
    """Refs that point at this revision (hf)."""
    missing: tuple[str, ...] = ()
    """What it needs and does not have: paths, or names inside the model."""
    absent: tuple[str, ...] = ()
    """Files that its source offers and that were not asked for; the model works without them."""


@dataclass(frozen=True)
class Inventory:
    """Everything in one replica of a cache."""

    cache: str
    replica: int
    layout: str
    root: str
    files: tuple[CacheFile, ...]
    models: tuple[CacheModel, ...]
    partial: tuple[str, ...] = ()
    """Paths of downloads that were not finished."""
    hashed: int = 0
    """Files whose content was read this time; the others were unchanged since the last inventory."""
    again: int = 0
    """Files of those that were unchanged, and read all the same to find rot."""
    problems: tuple[Finding, ...] = ()
    """What could not be read or does not belong there."""
    exists: bool = True
    """False where the folder is not there at all: an empty cache, or a volume that is not mounted."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def by_path(self) -> dict[str, CacheFile]:
        """Files by their path."""
        return {file.path: file for file in self.files}


@dataclass(frozen=True)
class WantedModel:
    """One model that a stack must have in one of its caches."""

    key: str
    """Name under which the stack declares it."""
    name: str
    """Name that the cache's inventory gives it."""
    scheme: ModelScheme
    reference: str
    """The source without its scheme and revision: `llama3:8b`, `org/repo`, a package's name."""
    revision: str = ""
    """Branch, tag or commit that was asked for (hf); empty is the source's default."""
    pin: str | None = None
    """Manifest digest or commit that it must have. A moved tag is then reported, not pulled."""
    gated: bool = False
    token: str | None = None
    """Name of the secret with the token that its source asks for; never the token itself."""


@dataclass(frozen=True)
class ModelDifference:
    """How one model that is wanted differs from what is there."""

    model: str
    state: ModelState
    detail: str = ""
    wanted: WantedModel | None = None
    """The declaration; None for a model that no declaration asks for."""


def inventory_from_json(raw: Mapping[str, Any]) -> Inventory:
    """The inventory that `dataclasses.asdict` made into JSON. Raises TypeError, KeyError for anything else."""
    lists = ("files", "models", "partial", "problems")
    plain = {name: value for name, value in raw.items() if name not in lists}
    return Inventory(
        files=tuple(CacheFile(**{**one, "unread": None}) for one in raw["files"]),
        models=tuple(CacheModel(**_tuples(one)) for one in raw["models"]),
        partial=tuple(raw["partial"]),
        problems=tuple(Finding(**one) for one in raw["problems"]),
        **plain,
    )


def _tuples(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in raw.items()}
