"""The store of Ollama: `manifests/<host>/<namespace>/<model>/<tag>` names blobs, `blobs/sha256-<hex>` are they.

Read from github.com/ollama/ollama v0.17.4: manifest/paths.go, manifest/manifest.go, server/download.go
(`-partial`, `-partial-N`) and PruneLayers in server/images.go, which deletes whatever else lies in `blobs/`
and every blob that no manifest names when the server starts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from ops_pipelines.policy.cache_names import shown_name
from ops_pipelines.policy.cache_parts import OURS, Assembled, Promises, chain, ends_at_file, parse
from ops_pipelines.policy.models import CacheModel, Seen
from ops_pipelines.policy.plan import Finding

_BLOB = re.compile(r"blobs/sha256[-:]([0-9a-f]{64})")
_DIGEST = re.compile(r"sha256[-:]([0-9a-f]{64})")


def role(path: str) -> Literal["content", "partial", "transient"]:
    """Anything in `blobs/` that is not named by a whole digest is a download or a conversion under way."""
    if OURS.fullmatch(path):
        return "transient"
    return "partial" if path.startswith("blobs/") and not _BLOB.fullmatch(path) else "content"


def notes(links: Mapping[str, str | None]) -> frozenset[str]:
    """The manifests."""
    return frozenset(path for path, link in links.items() if path.startswith("manifests/") and link is None)


def wants_git(path: str, size: int) -> bool:  # noqa: ARG001 - one form for all layouts
    """Nothing here is named by a git blob id."""
    return False


def is_blob(path: str) -> bool:
    """Whether the path is content under its digest."""
    return path.startswith("blobs/")


def promised(path: str) -> str:
    """The digest in a blob's name."""
    match = _BLOB.fullmatch(path)
    return match[1] if match else ""


def order(path: str) -> int:
    """Blobs first: a server that starts in between deletes blobs that no manifest names, but loads nothing."""
    return 0 if path.startswith("blobs/") else 1


def assemble(seen: Mapping[str, Seen], partial: Iterable[str]) -> Assembled:  # noqa: ARG001 - as above
    """Models by their manifests. A manifest that cannot be read is a corrupt file."""
    promises, models, problems = Promises(), [], []
    blobs: dict[str, tuple[str, ...]] = {}
    links = {path: one.link for path, one in seen.items()}
    for path in seen:
        if (match := _BLOB.fullmatch(path)) and ends_at_file(steps := chain(path, links), links):
            promises.expected[steps[-1]] = match[1]
            blobs[match[1]] = steps
    for path, note in sorted(seen.items()):
        if not path.startswith("manifests/") or note.link is not None:
            continue
        parts = path.split("/")[1:]
        if len(parts) != 4 or any(part.startswith(".") for part in parts):
            problems.append(_stray(path))
            continue
        models.append(_model(note, parts, seen, blobs, promises))
    return Assembled(promises.files(seen), tuple(models), tuple(problems))


def _model(
    note: Seen,
    parts: list[str],
    seen: Mapping[str, Seen],
    blobs: Mapping[str, tuple[str, ...]],
    promises: Promises,
) -> CacheModel:
    name = shown_name(f"{'/'.join(parts[:3])}:{parts[3]}")
    layers = _layers(parse(note.text))
    if layers is None:
        promises.faults[note.path] = "it is no manifest that can be read"
        return CacheModel(name, note.sha256, (note.path,), 0, complete=True)
    present: dict[str, int] = {}
    missing: list[str] = []
    for digest, size in layers:
        steps = blobs.get(digest)
        if steps is None:
            missing.append(f"blobs/sha256-{digest}")
            continue
        present |= {path: seen[path].size for path in steps}
        if size is not None and size != (has := seen[steps[-1]].size):
            promises.faults.setdefault(steps[-1], f"it has {has} bytes of {size}")
    return CacheModel(
        name=name,
        revision=note.sha256,
        files=(*sorted(present), note.path),
        size=sum(present.values()),
        complete=not missing,
        missing=tuple(missing),
    )


def _layers(manifest: Any) -> list[tuple[str, int | None]] | None:
    """(digest, size) of the config and the layers, or None for what is no manifest."""
    if not isinstance(manifest, dict) or not isinstance(manifest.get("layers"), list):
        return None
    config = manifest.get("config")
    entries = [*manifest["layers"], *([config] if isinstance(config, dict) and config.get("digest") else [])]
    layers: list[tuple[str, int | None]] = []
    for entry in entries:
        match = _DIGEST.fullmatch(str(entry.get("digest"))) if isinstance(entry, dict) else None
        if match is None:
            return None
        size = entry.get("size")
        layers.append((match[1], size if isinstance(size, int) else None))
    return layers


def _stray(path: str) -> Finding:
    return Finding(
        subject=path,
        ok=False,
        message=f"{path} lies among the manifests but names no model; ollama passes over it",
        remedy="delete the file if nobody misses it",
        severity="warning",
    )
