"""keepalived of Debian, with the start of deploy/aphrodite."""

from __future__ import annotations

from pathlib import Path

from tools.images import debian
from tools.images.base import ALPINE
from tools.images.image import Image
from tools.images.layer import files_layer

_START = (
    Path(__file__).resolve().parents[3] / "deploy" / "aphrodite" / "images" / "virtual-address" / "start.sh"
)

IMAGES = (
    Image(
        names=("aphrodite/keepalived:2.3",),
        layers=(
            *ALPINE,
            debian.packages("keepalived", "keepalived"),
            files_layer("keepalived-start", {"usr/local/bin/start.sh*": _START}),
        ),
        real="keepalived 2.2 of Debian",
        entrypoint=("/usr/local/bin/start.sh",),
    ),
)
