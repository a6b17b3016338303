"""`python -m tools.images [NAME...]`: make images (all of them) in the parts' cache; --list says which is what."""

from __future__ import annotations

import argparse
import time

from tools.images import all_images
from tools.images.image import Image
from tools.parts import cache


def main() -> int:
    """0 when every image asked for is made."""
    parser = argparse.ArgumentParser(prog="python -m tools.images", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="the image's name, tag included")
    parser.add_argument("--list", action="store_true", help="say what is in each, make nothing")
    asked = parser.parse_args()
    known = all_images()
    if unknown := [name for name in asked.names if name not in known]:
        parser.error(f"no recipe for {', '.join(unknown)}")
    for image in dict.fromkeys(known[name] for name in asked.names or known):
        if not asked.list:
            _make(image)
        print(f"{', '.join(image.names)}: {image.real} ({_size(image)})", flush=True)
    return 0


def _make(image: Image) -> None:
    for layer in image.layers:
        if not layer.made:
            began = time.monotonic()
            layer.make()
            print(
                f"layer {layer.name}: {_megabytes(layer.path.stat().st_size)}, {time.monotonic() - began:.0f} s"
            )


def _size(image: Image) -> str:
    return _megabytes(sum(one.path.stat().st_size for one in image.layers)) if image.made else "not made"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"


if __name__ == "__main__":
    with cache.locked():
        raise SystemExit(main())
