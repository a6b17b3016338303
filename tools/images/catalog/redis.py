"""Redis of Debian. Its image has a shell with wget."""

from __future__ import annotations

from tools.images import debian
from tools.images.base import ALPINE, passwd
from tools.images.image import Image
from tools.images.layer import Folder, files_layer

_REDIS = debian.packages("redis", "redis-server")
_START = files_layer(
    "redis-start",
    {
        **passwd("redis:x:999:1000::/data:/bin/sh", groups=("redis:x:1000:",)),
        "usr/local/bin/docker-entrypoint.sh*": (
            '#!/bin/sh\n[ "${1#-}" = "$1" ] || set -- redis-server "$@"\nexec "$@"\n'
        ),
    },
    Folder("data", 999, 1000),
)

IMAGES = (
    Image(
        names=("redis:7.4.2-alpine",),
        layers=(*ALPINE, _REDIS, _START),
        real="Redis 7.0 of Debian",
        entrypoint=("docker-entrypoint.sh",),
        command=("redis-server",),
        volumes=("/data",),
        folder="/data",
    ),
)
