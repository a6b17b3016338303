"""SeaweedFS, the program of the embedded object store."""

from __future__ import annotations

from tools.images.base import ALPINE
from tools.images.image import Image
from tools.images.layer import Folder
from tools.images.programs_of import part_programs

_WEED = part_programs("seaweedfs", {"weed": "/usr/bin/weed"}, Folder("data"), Folder("etc/seaweedfs"))

IMAGES = (
    Image(
        names=("chrislusf/seaweedfs:3.97",),
        layers=(*ALPINE, _WEED),
        real="SeaweedFS 4.48",
        entrypoint=("weed",),
        volumes=("/data",),
        folder="/data",
    ),
)
