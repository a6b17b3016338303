"""What the layouts of model caches have in common."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ops_pipelines.policy.models import CacheFile, CacheModel, Seen
from ops_pipelines.policy.plan import Finding

INDEX_SUFFIX = ".index.json"
WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth", ".onnx", ".h5", ".msgpack", ".model.data")
OURS = re.compile(r"(.*/)?\.(staging|fetching|restoring)-[0-9a-f]{16}(/.*)?")
"""What a restore writes under until a file, or a folder, is whole: of no meaning to anybody else."""
_LINKS = 40
"""Links that are followed before a chain counts as a loop (Linux' own limit)."""


@dataclass(frozen=True)
class Assembled:
    """What a layout makes of the files of a cache."""

    files: tuple[CacheFile, ...]
    models: tuple[CacheModel, ...]
    problems: tuple[Finding, ...] = ()


@dataclass
class Promises:
    """Digests and faults by path, collected while a layout is read."""

    expected: dict[str, str] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)

    def files(self, seen: Mapping[str, Seen]) -> tuple[CacheFile, ...]:
        """All files with what was promised of them, by path."""
        return tuple(
            CacheFile(
                path=path,
                size=one.size,
                sha256=one.sha256,
                expected=self.expected.get(path),
                link=one.link,
                mode=one.mode,
                git=one.git,
                fault=self.faults.get(path) or self._rot(one),
                unread=one.unread,
            )
            for path, one in sorted(seen.items())
        )

    def _rot(self, one: Seen) -> str:
        """What a reading found, unless the content is what is promised: then the memory of it was wrong."""
        promised = self.expected.get(one.path)
        return "" if promised is not None and promised in (one.sha256, one.git) else one.fault


def chain(path: str, links: Mapping[str, str | None]) -> tuple[str, ...]:
    """The paths from a link to what it ends at, itself included.

    `links` holds every path with the target of its link, or None for a file. The last path is not in `links`
    where the link dangles; a loop ends after 40 links at a link.
    """
    steps = [path]
    while (target := links.get(steps[-1])) is not None and len(steps) <= _LINKS:
        steps.append(posixpath.normpath(posixpath.join(posixpath.dirname(steps[-1]), target)))
    return tuple(steps)


def ends_at_file(steps: tuple[str, ...], links: Mapping[str, str | None]) -> bool:
    """Whether a chain of links ends at a file that is there."""
    return steps[-1] in links and links[steps[-1]] is None


def parse(text: str | None) -> Any:
    """The JSON of a note, or None where it is none."""
    try:
        return json.loads(text or "")
    except ValueError:
        return None


def absent_shards(index: str, text: str | None, have: Collection[str]) -> tuple[str, ...]:
    """Shards that a weights index (`model.safetensors.index.json`) names and that are not among `have`.

    `index` and `have` are paths inside the model. Only `weight_map` is read, as transformers does.
    """
    content = parse(text)
    shards = content.get("weight_map", {}) if isinstance(content, dict) else {}
    if not isinstance(shards, dict):
        return ()
    folder = posixpath.dirname(index)
    names = {posixpath.join(folder, name) for name in shards.values() if isinstance(name, str)}
    return tuple(sorted(names - set(have)))


def short(digest: str) -> str:
    """The first twelve digits of a digest, as `ollama list` shows it."""
    return digest[:12]
