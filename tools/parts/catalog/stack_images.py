"""Container images under the names of deploy/'s files, made of real programs (tools/images): this file's name comes
after the parts that they are made of."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tools.parts.part import Part, PartError

_OF_TESTS = ("_clickhouse_shim.py", "_qdrant.py")
"""Programs of images that the tests start by themselves, too."""
_NAME = "whole-stack-images"
_PARTS = "ollama, milvus, etcd, seaweedfs, busybox"


def _recipes() -> str:
    """Digest of all that the images are made by."""
    folder = Path(__file__).resolve().parents[2] / "images"
    files = sorted(one for one in folder.rglob("*") if one.is_file() and one.suffix != ".pyc")
    digest = hashlib.sha256()
    for file in (*files, *(folder.parents[1] / "tests" / "servers" / name for name in _OF_TESTS)):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _install(folder: Path) -> None:
    from tools.images import all_images, models

    images = dict.fromkeys(all_images().values())
    for layer in (models.GGUF, models.STORE, *(layer for image in images for layer in image.layers)):
        try:
            layer.make()
        except (OSError, ValueError) as error:
            raise PartError(f"layer {layer.name}: {error}") from error
    lines = "".join(f"{' '.join(image.names)}: {image.real}\n" for image in images)
    (folder / "bin").mkdir()
    script = folder / "bin" / _NAME
    script.write_text(f"#!/bin/sh\ncat <<'END'\n{lines}END\n")
    script.chmod(0o755)


PARTS = (
    Part(
        name=_NAME,
        version=_recipes(),
        binaries=(_NAME,),
        how_to_get=f"make parts ARGS={_NAME} (needs the parts {_PARTS}; 5 minutes or more, 2.5 GB)",
        install=_install,
        on_request=True,
    ),
)
