"""Could a restored model be loaded: what its files say, read without starting anything.

Digests prove that the files are those of the backup. This proves that the backup held a model: shards that their
index names, tensors that fill their files, a tokenizer that can be read, an Ollama manifest whose layers are there.
The form of a safetensors file is that of https://huggingface.co/docs/safetensors/index#format.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ops_pipelines.policy.manifest import Part
from ops_pipelines.policy.plan import Finding

_LARGEST_HEADER = 100_000_000
"""Bytes; the reference reader refuses more."""
_TOKENIZERS = frozenset(
    {
        "tokenizer.json",
        "tokenizer.model",
        "vocab.txt",
        "vocab.json",
        "spiece.model",
        "tekken.json",
        "merges.txt",
    }
)
_JSON = frozenset({"config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"})
_INDEX = ".safetensors.index.json"
_OLLAMA_WEIGHTS = "application/vnd.ollama.image.model"
_REMEDY = (
    "restore another snapshot; pull the model again and take a new backup, as the live one may be the same"
)

Problem = tuple[Path, str]


def inspect_models(part: Part, place: str) -> Sequence[Finding]:
    """What is wrong with the models of a staged model cache; one good finding where nothing is. Other parts: none."""
    root = Path(place)
    if part.kind != "model_cache" or not root.is_dir():
        return ()
    problems: list[Problem] = []
    seen = 0
    for folder, _, names in os.walk(root):
        here = Path(folder)
        if here.name == "blobs":
            continue  # content by digest: the files of a hub's snapshot and of a manifest lead to it
        for name in sorted(names):
            found = list(_problems(root, here / name))
            seen += _is_looked_at(root, here / name)
            problems += found
        if "config.json" in names and not _TOKENIZERS & set(names) and _is_a_language_model(here):
            problems.append((here / "config.json", "has no tokenizer beside it"))
    if problems:
        return [
            Finding(part.key, False, f"{path.relative_to(root)} {why}", _REMEDY) for path, why in problems
        ]
    return (
        [Finding(part.key, True, f"{seen} model files could be read: shards, tokenizers, manifests")]
        if seen
        else ()
    )


def _is_looked_at(root: Path, path: Path) -> bool:
    return (
        path.suffix == ".safetensors"
        or path.name.endswith(_INDEX)
        or path.name in _JSON
        or _is_manifest(root, path)
    )


def _is_manifest(root: Path, path: Path) -> bool:
    return path.relative_to(root).parts[0] == "manifests"


def _problems(root: Path, path: Path) -> Iterator[Problem]:
    if not _is_looked_at(root, path):
        return
    try:
        if path.suffix == ".safetensors":
            _tensors(path)
        elif path.name.endswith(_INDEX):
            yield from _shards(path)
        elif _is_manifest(root, path):
            yield from _layers(root, path)
        else:
            _json(path)
    except FileNotFoundError:
        yield path, "leads to a file that is not there"
    except OSError as error:
        yield path, f"cannot be read: {error.strerror or error}"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        yield path, f"is not whole: {error}"


def _json(path: Path) -> Any:
    return json.loads(path.read_bytes())


def _tensors(path: Path) -> set[str]:
    """Names of the tensors in a safetensors file. Raises ValueError where they do not fill it."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(_LARGEST_HEADER, size - 8):
            raise ValueError(f"its header says {length} bytes, and the file has {size}")
        header = json.loads(file.read(length))
    tensors = {name: one for name, one in header.items() if name != "__metadata__"}
    end = max((int(one["data_offsets"][1]) for one in tensors.values()), default=0)
    if end != size - 8 - length:
        raise ValueError(f"its tensors take {end} bytes, and the file has {size - 8 - length} for them")
    return set(tensors)


def _shards(index: Path) -> Iterator[Problem]:
    """Shards that an index names and that are not there, or lack its tensors."""
    wanted: dict[str, set[str]] = {}
    for tensor, shard in _json(index)["weight_map"].items():
        wanted.setdefault(str(shard), set()).add(tensor)
    if not wanted:
        raise ValueError("it names no shard")
    for shard, tensors in sorted(wanted.items()):
        if Path(shard).name != shard:
            raise ValueError(f"it names {shard!r}, which is no file beside it")
        path = index.with_name(shard)
        if not path.exists():
            yield index, f"names the shard {shard}, which is not there"
            continue
        try:
            lacking = tensors - _tensors(path)
        except (ValueError, KeyError, TypeError):
            continue  # said of the shard itself
        if lacking:
            yield index, f"names {len(lacking)} tensors that {shard} does not hold ({min(lacking)})"


def _layers(root: Path, manifest: Path) -> Iterator[Problem]:
    """Layers of an Ollama manifest that are not there with their size, or no weights."""
    raw = _json(manifest)
    for layer in [*raw["layers"], *([raw["config"]] if raw.get("config") else [])]:
        blob = root / "blobs" / str(layer["digest"]).replace(":", "-")
        if blob.parent != root / "blobs":
            raise ValueError(f"it names {layer['digest']!r}, which is no digest")
        if not blob.exists():
            yield manifest, f"names the blob {blob.name}, which is not there"
            continue
        size = blob.stat().st_size
        if size != layer["size"]:
            yield manifest, f"names the blob {blob.name} with {layer['size']} bytes, and it has {size}"
        elif layer["mediaType"] == _OLLAMA_WEIGHTS:
            with blob.open("rb") as file:
                if file.read(4) != b"GGUF":
                    yield manifest, f"names the weights {blob.name}, which are no GGUF file"


def _is_a_language_model(folder: Path) -> bool:
    """Whether a config.json declares a vocabulary, and so needs a tokenizer."""
    try:
        config = _json(folder / "config.json")
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and "vocab_size" in config and any(folder.glob("*.safetensors"))
