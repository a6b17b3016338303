"""Container images under the names of deploy/'s Compose files, made of real programs on this machine.

No registry of images is asked: programs come from Debian, PyPI and the Go module proxy. `make parts` makes them,
`tests/servers/images.py` loads them into an engine. One file for each image lies in `catalog`.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping

from tools.images import catalog
from tools.images.image import Image

__all__ = ["Image", "all_images"]


@functools.cache
def all_images() -> Mapping[str, Image]:
    """Every image by each of its names."""
    found: dict[str, Image] = {}
    for module in sorted(pkgutil.iter_modules(catalog.__path__), key=lambda one: one.name):
        for image in importlib.import_module(f"{catalog.__name__}.{module.name}").IMAGES:
            for name in image.names:
                if name in found:
                    raise ValueError(
                        f"two images are named {name}: see tools/images/catalog/{module.name}.py"
                    )
                found[name] = image
    return found
