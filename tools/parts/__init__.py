"""The real parts that tests and benchmarks run against: where each is, and how it comes here.

`python -m tools.parts` (`make parts`) installs what is missing, `tests/parts.py` finds it. Both read one
table, the modules of `tools/parts/catalog`: a new part is one new file there. Standard library only, so that
it runs before anything is installed.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping

from tools.parts import catalog
from tools.parts.part import Found, Part, PartError

__all__ = ["Found", "Part", "PartError", "all_parts"]


@functools.cache
def all_parts() -> Mapping[str, Part]:
    """Every part by its name, in the order of the catalog's files."""
    parts: dict[str, Part] = {}
    for module in sorted(pkgutil.iter_modules(catalog.__path__), key=lambda found: found.name):
        for part in importlib.import_module(f"{catalog.__name__}.{module.name}").PARTS:
            if part.name in parts:
                raise ValueError(f"two parts are named {part.name}: see tools/parts/catalog/{module.name}.py")
            parts[part.name] = part
    return parts
