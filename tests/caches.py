"""Small model caches of each layout, written byte by byte, and what tests do with parts made of them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from ops_pipelines.adapters.cachefiles import scan
from ops_pipelines.engines.parts.model_cache import ModelCacheSource, ModelCacheTarget
from ops_pipelines.engines.ports import Capture, Fetch, TakeInventory, silent
from ops_pipelines.policy.manifest import FileEntry, Part, decode, encode
from ops_pipelines.policy.manifest import Manifest as SnapshotManifest
from ops_pipelines.policy.models import Inventory

COMMIT = "a" * 40


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def put(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def ollama_model(
    root: Path, name: str, layers: list[bytes], *, config: bytes = b'{"model_format":"gguf"}'
) -> str:
    """Write `model:tag` into an Ollama store, as `ollama create` does, and return its manifest's digest."""
    model, _, tag = name.partition(":")
    for content in (*layers, config):
        put(root / "blobs" / f"sha256-{sha256(content)}", content)
    listed = [
        {
            "mediaType": "application/vnd.ollama.image.model",
            "digest": f"sha256:{sha256(one)}",
            "size": len(one),
        }
        for one in layers
    ]
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {"mediaType": "c", "digest": f"sha256:{sha256(config)}", "size": len(config)},
            "layers": listed,
        }
    )
    put(root / "manifests/registry.ollama.ai/library" / model / (tag or "latest"), manifest + "\n")
    return sha256((manifest + "\n").encode())


def hub_model(
    root: Path,
    repo: str,
    files: Mapping[str, bytes],
    *,
    commit: str = COMMIT,
    ref: str | None = "main",
    large: int = 1000,
    listed: Mapping[str, bytes] | None = None,
) -> Path:
    """Write a repository into a hub cache. `listed` is what the hub's listing names (None: no listing)."""
    home = root / f"models--{repo.replace('/', '--')}"
    for name, content in files.items():
        etag = sha256(content) if len(content) >= large else git_id(content)
        put(home / "blobs" / etag, content)
        link = home / "snapshots" / commit / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to("../" * (name.count("/") + 2) + f"blobs/{etag}")
    if listed is not None:
        tree = {
            name: {"size": len(content), "blob_id": git_id(content)}
            | ({"lfs_sha256": sha256(content), "lfs_size": len(content)} if len(content) >= large else {})
            for name, content in listed.items()
        }
        put(home / "trees" / f"{commit}.json", json.dumps({"format_version": 1, "files": tree}))
    if ref is not None:
        put(home / "refs" / ref, commit)
    return home


def tree(root: Path) -> dict[str, str]:
    """Every file and link below a folder: digest and mode, or target. For comparing bit by bit."""
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            inside = path.relative_to(root).as_posix()
            if path.is_symlink():
                found[inside] = f"-> {os.readlink(path)}"
            else:
                found[inside] = f"{sha256(path.read_bytes())} {path.stat().st_mode & 0o777:o}"
    return found


def inventories(
    layout: str, roots: list[Path], index: Path | None = None, cache: str = "models"
) -> TakeInventory:
    """A TakeInventory of folders, with an index for each below `index` where it is given."""

    def take(replica: int, progress: Callable[..., None]) -> Inventory:
        where = None if index is None else index / f"{replica}.json"
        return scan(roots[replica], layout, cache=cache, replica=replica, index=where, progress=progress)

    return take


def source(layout: str, *roots: Path, **words: object) -> ModelCacheSource:
    return ModelCacheSource("models", len(roots), inventories(layout, list(roots)), **words)  # type: ignore[arg-type]


def target(layout: str, *roots: Path) -> ModelCacheTarget:
    return ModelCacheTarget("models", layout, roots, inventories(layout, list(roots)))


def as_part(capture: Capture) -> Part:
    """The part as a backup would write it: through the manifest's own encoder and checks."""
    part = Part("model_cache", "models", tuple(one.entry for one in capture.files), dict(capture.facts))
    manifest = SnapshotManifest("20261121T020000Z-1f3a9c", "s", "2026-11-21T02:00:00+00:00", (part,))
    return decode(encode(manifest), where="test").parts[0]


def content_of(capture: Capture) -> dict[str, bytes]:
    """The bucket: content by digest, each checked as an upload would."""
    bucket = {}
    for one in capture.files:
        if one.source is not None:
            content = one.source.read_bytes()
            assert sha256(content) == one.entry.sha256, one.entry.path
            bucket[one.entry.sha256] = content
    return bucket


def fetch_from(
    bucket: Mapping[str, bytes], fetched: list[str] | None = None, *, replaces: bool = False
) -> Fetch:
    """A Fetch of that bucket; paths that were really fetched are noted in `fetched`.

    Without `replaces`, what is there must not be fetched."""

    def fetch(entry: FileEntry, path: Path) -> None:
        assert replaces or not path.exists()
        temporary = path.with_name(f".fetching-{sha256(path.name.encode())[:16]}")
        temporary.write_bytes(bucket[entry.sha256])
        temporary.chmod(entry.mode)
        temporary.replace(path)
        if fetched is not None:
            fetched.append(entry.path)

    return fetch


def captured(layout: str, *roots: Path) -> tuple[Part, dict[str, bytes]]:
    """A part and its bucket, taken from folders."""
    capture = source(layout, *roots).capture(Path(), silent)
    return as_part(capture), content_of(capture)


def rot(path: Path) -> None:
    """Flip a byte as a disk does: no time of the file tells."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def forget_the_write(index: Path, path: Path, name: str) -> None:
    """Let the memory of a file have its present ctime, which no program can set back."""
    raw = json.loads(index.read_text())
    raw["files"][name]["ctime_ns"] = path.stat().st_ctime_ns
    index.write_text(json.dumps(raw))
