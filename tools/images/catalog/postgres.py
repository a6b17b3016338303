"""PostgreSQL, with an entrypoint that reads the variables that the official image reads."""

from __future__ import annotations

from pathlib import Path

from tools.images import debian
from tools.images.base import ALPINE, BASH, passwd
from tools.images.image import Image
from tools.images.layer import Folder, files_layer

_PROGRAMS = Path(__file__).resolve().parents[1] / "programs"
_POSTGRES = debian.packages("postgres", "postgresql-15", "tzdata")
_START = files_layer(
    "postgres-start",
    {
        **passwd("postgres:x:70:70::/var/lib/postgresql:/bin/sh", groups=("postgres:x:70:",)),
        "usr/local/bin/docker-entrypoint.sh*": _PROGRAMS / "postgres.sh",
    },
    Folder("var/lib/postgresql", 70, 70),
    Folder("var/lib/postgresql/data", 70, 70, 0o1777),
    Folder("var/run/postgresql", 70, 70, 0o3777),
    Folder("docker-entrypoint-initdb.d"),
)

IMAGES = (
    Image(
        names=("postgres:15.13-alpine", "postgres:16.9-alpine", "postgres:17.6-bookworm"),
        layers=(*ALPINE, BASH, _POSTGRES, _START),
        real="PostgreSQL 15 of Debian",
        entrypoint=("docker-entrypoint.sh",),
        command=("postgres",),
        environment={
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/lib/postgresql/15/bin:/usr/sbin:/usr/bin",
            "PGDATA": "/var/lib/postgresql/data",
            "LANG": "C.UTF-8",
        },
        volumes=("/var/lib/postgresql/data",),
    ),
)
