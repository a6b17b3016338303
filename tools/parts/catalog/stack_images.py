"""Container images under the names of deploy/'s files, made of real programs (tools/images): this file's name comes
after the parts that they are made of."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from tools.parts.part import Part, PartError

_OF_TESTS = ("_clickhouse_shim.py", "_qdrant.py")
"""Programs of images that the tests start by themselves, too."""
_PARTS = "ollama, milvus, etcd, seaweedfs, busybox"


def _recipes() -> str:
    """Digest of all that the images are made by."""
    folder = Path(__file__).resolve().parents[2] / "images"
    files = sorted(one for one in folder.rglob("*") if one.is_file() and one.suffix != ".pyc")
    digest = hashlib.sha256()
    for file in (*files, *(folder.parents[1] / "tests" / "servers" / name for name in _OF_TESTS)):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _first() -> list[str]:
    """Images of the stack that every run of the tests starts whole: Obelisk on a CPU, and what is outside of it."""
    file = Path(__file__).resolve().parents[3] / "deploy" / "obelisk" / "compose.yaml"
    named = re.findall(r"^ +image: (\S+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return [*named, "ops-test/openai:1"]


def _install(folder: Path, name: str, names: Iterable[str] | None) -> None:
    from tools.images import all_images, models

    known = all_images()
    images = dict.fromkeys(known[one] for one in (known if names is None else names))
    for layer in (models.GGUF, models.STORE, *(layer for image in images for layer in image.layers)):
        try:
            layer.make()
        except (OSError, ValueError) as error:
            raise PartError(f"layer {layer.name}: {error}") from error
    lines = "".join(f"{' '.join(image.names)}: {image.real}\n" for image in images)
    (folder / "bin").mkdir()
    script = folder / "bin" / name
    script.write_text(f"#!/bin/sh\ncat <<'END'\n{lines}END\n")
    script.chmod(0o755)


PARTS = (
    Part(
        name="stack-images",
        version=_recipes(),
        binaries=("stack-images",),
        how_to_get=f"make parts ARGS=stack-images (needs the parts {_PARTS}; some minutes, 1 GB)",
        install=lambda folder: _install(folder, "stack-images", _first()),
    ),
    Part(
        name="whole-stack-images",
        version=_recipes(),
        binaries=("whole-stack-images",),
        how_to_get=f"make parts ARGS=whole-stack-images (needs the parts {_PARTS}; 5 minutes or more, 2.5 GB)",
        install=lambda folder: _install(folder, "whole-stack-images", None),
        on_request=True,
    ),
)
