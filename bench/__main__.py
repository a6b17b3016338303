"""Run every benchmark whose module name holds one of the words; without words, all of them."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from pathlib import Path

from bench.row import show

_HELPERS = {"row", "fleet"}


def main(words: list[str]) -> int:
    """Each module of the package with `run() -> list[Row]` is a benchmark; its docstring is its title."""
    names = [module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])]
    chosen = [
        name
        for name in names
        if not name.startswith("_")
        and name not in _HELPERS
        and (not words or any(word in name for word in words))
    ]
    if not chosen:
        print(f"no benchmark is named like {' or '.join(words)}", file=sys.stderr)
        return 2
    load, cores = os.getloadavg()[0], os.cpu_count()
    print(
        f"{cores} cores, load {load:.1f}. Where the load is near the cores or above, believe the ratios only."
    )
    for name in chosen:
        module = importlib.import_module(f"bench.{name}")
        show(str(module.__doc__).splitlines()[0], module.run())
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
