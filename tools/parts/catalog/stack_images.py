"""Container images under the names of deploy/'s files, made of real programs (tools/images): this file's name comes
after the parts that they are made of."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tools.parts.part import Part, PartError

_PARTS = "ollama, milvus, etcd, seaweedfs, busybox"


def _recipes() -> str:
    """Digest of all that the images are made by."""
    folder = Path(__file__).resolve().parents[2] / "images"
    digest = hashlib.sha256()
    for file in sorted(one for one in folder.rglob("*") if one.is_file() and one.suffix != ".pyc"):
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
    script = folder / "bin" / "stack-images"
    script.write_text(f"#!/bin/sh\ncat <<'END'\n{lines}END\n")
    script.chmod(0o755)


PARTS = (
    Part(
        name="stack-images",
        version=_recipes(),
        binaries=("stack-images",),
        how_to_get=f"make parts (needs the parts {_PARTS}; about 5 minutes, 1.5 GB)",
        install=_install,
    ),
)
