"""A plain folder of models: each top folder is one, or the whole folder where weights lie at its top."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Literal

from ops_pipelines.policy.cache_parts import (
    INDEX_SUFFIX,
    OURS,
    WEIGHTS,
    Assembled,
    Promises,
    absent_shards,
    chain,
    ends_at_file,
)
from ops_pipelines.policy.models import CacheModel, Seen

WHOLE = "."
"""Name of the model where the whole folder is one."""
_PARTIAL = re.compile(r".*(\.incomplete|\.part|\.partial|\.aria2|\.crdownload|\.tmp)")
_HUB_NOTES = re.compile(r"(.*/)?\.cache/huggingface/.*")
"""What `hf download --local-dir` keeps of its own: locks, metadata, unfinished files."""


def role(path: str) -> Literal["content", "partial", "transient"]:
    """By the ending of the name, as download programs choose it."""
    if OURS.fullmatch(path):
        return "transient"
    if _PARTIAL.fullmatch(path):
        return "partial"
    return "transient" if _HUB_NOTES.fullmatch(path) or path.endswith(".lock") else "content"


def notes(links: Mapping[str, str | None]) -> frozenset[str]:
    """The weights indexes, which name the shards of a model."""
    return frozenset(path for path, link in links.items() if link is None and path.endswith(INDEX_SUFFIX))


def wants_git(path: str, size: int) -> bool:  # noqa: ARG001 - one form for all layouts
    """Nothing here is named by a git blob id."""
    return False


def is_blob(path: str) -> bool:  # noqa: ARG001 - one form for all layouts
    """Nothing here is named by its digest."""
    return False


def promised(path: str) -> str:  # noqa: ARG001 - one form for all layouts
    """Nothing here is named by its digest."""
    return ""


def order(path: str) -> int:
    """Weights first; what a server looks for (config.json, an index) last."""
    return 0 if path.endswith(WEIGHTS) else 1


def assemble(seen: Mapping[str, Seen], partial: Iterable[str]) -> Assembled:
    """Models by their folders. No name promises a digest here; empty weights count as a broken download."""
    links = {path: one.link for path, one in seen.items()}
    whole = any("/" not in path and (path.endswith(WEIGHTS) or path == "config.json") for path in seen)
    groups: dict[str, list[str]] = {}
    for path in seen:
        top = WHOLE if whole else path.partition("/")[0] if "/" in path else ""
        if top:
            groups.setdefault(top, []).append(path)
    unfinished = sorted(partial)
    models = []
    for name, paths in sorted(groups.items()):
        prefix = "" if name == WHOLE else f"{name}/"
        missing = [path for path in unfinished if path.startswith(prefix)]
        missing += [path for path in paths if links[path] is not None and _dangles(path, links)]
        missing += [
            path for path in paths if path.endswith(WEIGHTS) and links[path] is None and not seen[path].size
        ]
        for path in paths:
            if path.endswith(INDEX_SUFFIX):
                missing += absent_shards(
                    path, seen[chain(path, links)[-1]].text if path in seen else None, paths
                )
        models.append(_model(name, sorted(paths), seen, sorted(set(missing))))
    return Assembled(Promises().files(seen), tuple(models))


def _dangles(path: str, links: Mapping[str, str | None]) -> bool:
    steps = chain(path, links)
    if ends_at_file(steps, links):
        return False
    return steps[-1] != "." and not any(other.startswith(f"{steps[-1]}/") for other in links)


def _model(name: str, paths: list[str], seen: Mapping[str, Seen], missing: list[str]) -> CacheModel:
    digest = hashlib.sha256()
    for path in paths:
        inside = path if name == WHOLE else path.partition("/")[2]
        digest.update(f"{inside}\0{seen[path].link or seen[path].sha256}\n".encode())
    size = sum(seen[path].size for path in paths)
    return CacheModel(
        name, digest.hexdigest(), tuple(paths), size, complete=not missing, missing=tuple(missing)
    )
