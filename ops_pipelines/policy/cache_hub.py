"""A Hugging Face hub cache, in both layouts.

    models--org--name/blobs/<etag>            content: SHA-256 (large files) or git blob id (small ones)
    models--org--name/snapshots/<commit>/...  links to ../../blobs/<etag>
    models--org--name/refs/<branch or tag>    a commit
    models--org--name/trees/<commit>.json     what the hub lists for the commit (2.x)
    blobs/<2 hex>/<xet hash>                  content shared by all repositories (2.x): blobs/<etag> above is
                                              then a link to it, so the etag still says what it must be
    blobs/<2 hex>/<xet hash>.refs             which blobs link to it

Read from huggingface_hub 2.4.0 (file_download.py, _tree_cache.py, utils/_shared_blobs.py) and
https://huggingface.co/docs/hub/local-cache. A xet hash is no digest of the bytes alone and promises nothing here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ops_pipelines.policy.cache_parts import (
    INDEX_SUFFIX,
    OURS,
    WEIGHTS,
    Assembled,
    Promises,
    absent_shards,
    chain,
    ends_at_file,
    parse,
)
from ops_pipelines.policy.models import CacheModel, Seen

GIT_SIZE = 32 * 1024 * 1024
"""The hub keeps no larger file in git (its limit is 10 MiB): beyond, a git blob id is not worth computing."""
SHARED_MARKER = "blobs/.huggingface-shared-blobs"
"""Without it the library does not take the shared store for its own (utils/_shared_blobs.py)."""
_REPO = re.compile(r"(models|datasets|spaces|kernels)--(.+)")
_ETAG = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_STORE = re.compile(r"blobs/[0-9a-f]{2}/[0-9a-f]{64}")
_TEMPORARY = re.compile(
    r"(.*/)?(\.locks/.*|[^/]+\.lock(\.soft)?|[^/]+\.[0-9a-f]{8}\.(tmp|shared)|trees/[^/]+\.tmp)"
)
_NEEDED = re.compile(
    r"config\.json|tokenizer[^/]*|vocab\.[^/]+|merges\.txt|special_tokens_map\.json|[^/]+\.index\.json"
)
"""Top files without which what is loaded with transformers' layout does not load, where the hub lists them."""


def role(path: str) -> Literal["content", "partial", "transient"]:
    """`.incomplete` is a download; locks and half-renamed notes are nobody else's business."""
    if path.endswith(".incomplete"):
        return "partial"
    return "transient" if _TEMPORARY.fullmatch(path) or OURS.fullmatch(path) else "content"


def notes(links: Mapping[str, str | None]) -> frozenset[str]:
    """Refs, listings, and the files that weights indexes end at."""
    wanted = set()
    for path, link in links.items():
        inside = _inside(path)
        if inside.startswith(("refs/", "trees/")) and link is None:
            wanted.add(path)
        elif inside.startswith("snapshots/") and path.endswith(INDEX_SUFFIX):
            steps = chain(path, links)
            if ends_at_file(steps, links):
                wanted.add(steps[-1])
    return frozenset(wanted)


def wants_git(path: str, size: int) -> bool:
    """Small files named by 40 digits, and those that lie in a snapshot themselves (no links on that disk)."""
    inside = _inside(path)
    named = inside.startswith("blobs/") and len(inside) == len("blobs/") + 40
    return size <= GIT_SIZE and (named or inside.startswith("snapshots/"))


def is_blob(path: str) -> bool:
    """Whether the path is content under its digest, or says who uses such content."""
    return bool(_STORE.fullmatch(path.removesuffix(".refs"))) or _inside(path).startswith("blobs/")


def promised(path: str) -> str:
    """The digest in the name of a large blob. Small ones have a git blob id, shared ones a xet hash."""
    name = _inside(path).removeprefix("blobs/")
    return name if _SHA256.fullmatch(name) and _inside(path).startswith("blobs/") else ""


def order(path: str) -> int:
    """Shared content, then blobs, then snapshots, then the refs that make a commit the one that is served."""
    if path.startswith("blobs/"):
        return 0
    inside = _inside(path)
    return 1 if inside.startswith("blobs/") else 3 if inside.startswith("refs/") else 2


def _inside(path: str) -> str:
    """The path inside its repository, or nothing."""
    top, _, rest = path.partition("/")
    return rest if _REPO.fullmatch(top) else ""


@dataclass
class _Repo:
    """One repository's folder, sorted."""

    folder: str
    blobs: set[str] = field(default_factory=set)
    refs: dict[str, str] = field(default_factory=dict)
    snapshots: dict[str, dict[str, str]] = field(default_factory=dict)
    """By commit: path inside the model -> path in the cache."""
    trees: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    loading: set[str] = field(default_factory=set)
    """Etags of downloads that were not finished."""

    @property
    def name(self) -> str:
        match = _REPO.fullmatch(self.folder)
        kind, rest = match.groups() if match else ("models", self.folder)
        name = str(rest).replace("--", "/")
        return name if kind == "models" else f"{kind}/{name}"


def assemble(seen: Mapping[str, Seen], partial: Iterable[str]) -> Assembled:
    """One model for each snapshot, with the refs that point at it."""
    links = {path: one.link for path, one in seen.items()}
    promises = Promises()
    models: list[CacheModel] = []
    for repo in _repositories(seen, partial, promises):
        for blob in repo.blobs:
            _promise(promises, chain(blob, links)[-1], blob.rpartition("/")[2], seen)
        commits = sorted({*repo.snapshots, *repo.refs.values()})
        models += [_model(repo, commit, seen, links, promises) for commit in commits]
    return Assembled(promises.files(seen), tuple(models))


def _repositories(seen: Mapping[str, Seen], partial: Iterable[str], promises: Promises) -> list[_Repo]:
    repos: dict[str, _Repo] = {}
    for path in sorted(seen):
        inside = _inside(path)
        if not inside:
            continue
        folder = path[: -len(inside) - 1]
        repo = repos.setdefault(folder, _Repo(folder))
        kind, _, rest = inside.partition("/")
        if kind == "blobs":
            repo.blobs.add(path)
        elif kind == "refs":
            commit = (seen[path].text or "").strip()
            if _COMMIT.fullmatch(commit):
                repo.refs[rest] = commit
            else:
                promises.faults[path] = "it names no commit"
        elif kind == "snapshots" and "/" in rest:
            commit, _, name = rest.partition("/")
            repo.snapshots.setdefault(commit, {})[name] = path
        elif kind == "trees":
            listing = parse(seen[path].text)
            files = listing.get("files") if isinstance(listing, dict) else None
            if isinstance(files, dict):
                repo.trees[rest.removesuffix(".json")] = files
    for path in partial:
        inside = _inside(path)
        folder = path[: -len(inside) - 1]
        if inside.startswith("blobs/") and folder in repos:
            repos[folder].loading.add(inside.removeprefix("blobs/").partition(".")[0])
    return list(repos.values())


def _promise(promises: Promises, path: str, digest: str, seen: Mapping[str, Seen]) -> None:
    """A promise that can be checked: a git blob id only where one was computed."""
    one = seen.get(path)
    if one is not None and _ETAG.fullmatch(digest) and (len(digest) == 64 or one.git is not None):
        promises.expected.setdefault(path, digest)


def _model(
    repo: _Repo, commit: str, seen: Mapping[str, Seen], links: Mapping[str, str | None], promises: Promises
) -> CacheModel:
    snapshot = repo.snapshots.get(commit, {})
    tree = repo.trees.get(commit, {})
    paths: set[str] = {f"{repo.folder}/refs/{name}" for name, target in repo.refs.items() if target == commit}
    paths |= {path for path in (f"{repo.folder}/trees/{commit}.json",) if path in seen}
    missing: set[str] = set() if snapshot else {f"snapshots/{commit}"}
    content: set[str] = set()
    for name, path in snapshot.items():
        steps = chain(path, links)
        paths |= {step for step in steps if step in seen}
        if not ends_at_file(steps, links):
            missing.add(name)
            continue
        content.add(steps[-1])
        paths |= {f"{steps[-1]}.refs"} & seen.keys()
        if len(steps) == 1:
            _promise_listed(promises, path, tree.get(name), seen)
        if name.endswith(INDEX_SUFFIX):
            missing |= set(absent_shards(name, seen[steps[-1]].text, snapshot))
    absent = set(tree) - set(snapshot)
    missing |= _needed(absent, snapshot, tree) | _unfinished(repo, absent, tree)
    return CacheModel(
        name=repo.name,
        revision=commit,
        files=tuple(sorted(paths)),
        size=sum(seen[path].size for path in content),
        complete=not missing,
        tags=tuple(sorted(name for name, target in repo.refs.items() if target == commit)),
        missing=tuple(sorted(missing)),
        absent=tuple(sorted(absent - missing)),
    )


def _promise_listed(promises: Promises, path: str, listed: Any, seen: Mapping[str, Seen]) -> None:
    if isinstance(listed, dict):
        _promise(promises, path, str(listed.get("lfs_sha256") or listed.get("blob_id")), seen)


def _needed(absent: set[str], snapshot: Mapping[str, str], tree: Mapping[str, Any]) -> set[str]:
    """Files that the hub lists, that are not here, and without which what is here does not load.

    A snapshot may be a chosen part of a repository (one GGUF file of ten): that is no fault."""
    weights = {name for name in tree if name.endswith(WEIGHTS)}
    here = [name for name in snapshot if name.endswith(WEIGHTS)]
    if weights and not here:
        return weights
    if all(name.endswith(".gguf") for name in here):
        return set()
    return {name for name in absent if _NEEDED.fullmatch(name)} if here else set()


def _unfinished(repo: _Repo, absent: set[str], tree: Mapping[str, Any]) -> set[str]:
    """Files whose download was begun and not finished; without a listing, any such blob of the repository."""
    have = {blob.rpartition("/")[2] for blob in repo.blobs}
    loading = repo.loading - have
    if not tree:
        return {f"blobs/{etag}" for etag in loading}
    etags = {name: listed for name in absent if isinstance(listed := tree[name], dict)}
    return {
        name for name, listed in etags.items() if {listed.get("lfs_sha256"), listed.get("blob_id")} & loading
    }
