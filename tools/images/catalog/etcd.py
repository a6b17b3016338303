"""etcd. Its image has nothing but its programs: no shell."""

from __future__ import annotations

from tools.images.base import LIBC
from tools.images.image import Image
from tools.images.programs_of import part_programs

_ETCD = part_programs("etcd", {"etcd": "/usr/local/bin/etcd", "etcdctl": "/usr/local/bin/etcdctl"})

IMAGES = (
    Image(
        names=("quay.io/coreos/etcd:v3.5.18",),
        layers=(LIBC, _ETCD),
        real="etcd 3.6.5",
        command=("/usr/local/bin/etcd",),
    ),
)
