"""Ray of PyPI, the version that the files name."""

from __future__ import annotations

from tools.images import python
from tools.images.base import BASH, PYTHON, SLIM, passwd
from tools.images.image import Image
from tools.images.layer import Folder, files_layer

_RAY = python.packages("ray")
_HOME = files_layer(
    "ray-home",
    passwd("ray:x:1000:100::/home/ray:/bin/bash", groups=("users:x:100:",)),
    Folder("home/ray", 1000, 100),
)

IMAGES = (
    Image(
        names=("rayproject/ray:2.49.2-py311",),
        layers=(*SLIM, BASH, PYTHON, _RAY, _HOME),
        real="Ray 2.49.2 of PyPI",
        environment={"HOME": "/home/ray"},
        command=("bash",),
        user="1000",
        folder="/home/ray",
    ),
)
