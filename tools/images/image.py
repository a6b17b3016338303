"""An image: layers, and how it is started; written as the archive that `docker load` reads."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

from tools.images.layer import Layer


@dataclass(frozen=True)
class Image:
    """One image. `real` says which real software is in it, or what stands in for what."""

    names: tuple[str, ...]
    layers: tuple[Layer, ...]
    real: str
    stands_in: bool = False
    """Whether its main program only speaks as the real one does, which no registry has."""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, hash=False)
    user: str = ""
    folder: str = "/"
    volumes: tuple[str, ...] = ()

    @property
    def config(self) -> bytes:
        """Its configuration, as the engine keeps it: the image's id is its digest."""
        environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            **self.environment,
        }
        config: dict[str, Any] = {
            "Env": [f"{name}={value}" for name, value in environment.items()],
            "Entrypoint": list(self.entrypoint) or None,
            "Cmd": list(self.command) or None,
            "User": self.user,
            "WorkingDir": self.folder,
            "Volumes": {path: {} for path in self.volumes} or None,
        }
        return json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "created": "1970-01-01T00:00:00Z",
                "config": config,
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{one.diff_id}" for one in self.layers]},
            },
            sort_keys=True,
        ).encode()

    @property
    def id(self) -> str:
        """Its id in an engine."""
        return f"sha256:{hashlib.sha256(self.config).hexdigest()}"

    @property
    def made(self) -> bool:
        """Whether all its layers are here."""
        return all(one.made for one in self.layers)


def write_archive(images: Iterable[Image], file: IO[bytes]) -> None:
    """What `docker load` reads: each layer once, however many images have it."""
    listed, written = [], set[str]()
    with tarfile.open(fileobj=file, mode="w|") as tar:
        for image in images:
            name = f"{image.id.removeprefix('sha256:')}.json"
            _add(tar, name, image.config)
            for layer in image.layers:
                if layer.diff_id not in written:
                    written.add(layer.diff_id)
                    tar.add(layer.path, f"{layer.diff_id}/layer.tar")
            listed.append(
                {
                    "Config": name,
                    "RepoTags": list(image.names),
                    "Layers": [f"{layer.diff_id}/layer.tar" for layer in image.layers],
                }
            )
        _add(tar, "manifest.json", json.dumps(listed).encode())


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
