"""HAProxy of Debian. Its image has a shell with wget."""

from __future__ import annotations

from tools.images import debian
from tools.images.base import ALPINE, passwd
from tools.images.image import Image
from tools.images.layer import Folder, files_layer

_HAPROXY = debian.packages("haproxy", "haproxy")
_START = files_layer(
    "haproxy-start",
    {
        **passwd("haproxy:x:99:99::/var/lib/haproxy:/bin/sh", groups=("haproxy:x:99:",)),
        # As the official image: a master that may be told to read its files anew, in the foreground.
        "usr/local/bin/docker-entrypoint.sh*": (
            '#!/bin/sh\n[ "${1#-}" = "$1" ] || set -- haproxy "$@"\n'
            '[ "$1" != haproxy ] || { shift; set -- haproxy -W -db "$@"; }\nexec "$@"\n'
        ),
    },
    Folder("var/lib/haproxy", 99, 99),
    Folder("usr/local/etc/haproxy"),
)

IMAGES = (
    Image(
        names=("haproxy:2.8.15-alpine",),
        layers=(*ALPINE, _HAPROXY, _START),
        real="HAProxy 2.6 of Debian",
        entrypoint=("docker-entrypoint.sh",),
        command=("haproxy", "-f", "/usr/local/etc/haproxy/haproxy.cfg"),
        user="haproxy",
        folder="/var/lib/haproxy",
    ),
)
