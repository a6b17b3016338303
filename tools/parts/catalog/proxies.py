"""HAProxy and nginx, the proxies behind which traffic moves from one version to the next."""

from __future__ import annotations

from tools.parts.part import Part

PARTS = (
    Part(
        name="haproxy",
        version="2",
        binaries=("haproxy",),
        how_to_get="make parts (Debian: apt-get install haproxy)",
        debian=("haproxy",),
        probe=("-v",),
    ),
    Part(
        name="nginx",
        version="1",
        binaries=("nginx",),
        how_to_get="make parts (Debian: apt-get install nginx)",
        debian=("nginx",),
        probe=("-v",),
    ),
)
