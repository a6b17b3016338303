"""`python -m tools.parts [NAME...]`: install the parts that are missing, and say what came of each."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Iterable, Sequence

from tools.parts import all_parts, cache, command, debian
from tools.parts.part import Part, PartError


def main(argv: Sequence[str] | None = None) -> int:
    """0 when every part asked for is here at the end, 1 when one is not."""
    parts = all_parts()
    parser = argparse.ArgumentParser(prog="python -m tools.parts", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of: {', '.join(parts)}; without, the usual ones"
    )
    parser.add_argument("--list", action="store_true", help="say what is here, install nothing")
    asked = parser.parse_args(argv)
    if unknown := [name for name in asked.names if name not in parts]:
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(parts)}")
    usual = [name for name, part in parts.items() if asked.list or not part.on_request]
    chosen = [parts[name] for name in asked.names or usual]
    if asked.list:
        return _list(chosen)
    missing = [part for part in chosen if not _is_present(part)]
    if not missing:
        return 0
    with cache.locked():
        # Another one may have installed some of them while we waited.
        return _install([part for part in missing if not _is_present(part)])


def _say(part: Part, what: str) -> None:
    print(f"{part.name:<12} {part.version:<8} {what}", flush=True)


def _is_present(part: Part) -> bool:
    """Whether it is here; if so, say where."""
    found = part.find()
    if found:
        _say(part, f"present: {found.path}")
    return found is not None


def _list(parts: Iterable[Part]) -> int:
    for part in parts:
        found = part.find()
        _say(part, f"present: {found.path}" if found else f"not here: {part.how_to_get}")
    return 0


def _install(missing: Sequence[Part]) -> int:
    """Packages for all of them first, then one part after the other; a failed one does not stop the next."""
    packages = debian.absent(name for part in missing for name in part.debian)
    refused: PartError | None = None
    began = time.monotonic()
    if packages:
        print(f"installing Debian packages: {' '.join(packages)}", file=sys.stderr, flush=True)
        try:
            debian.install(packages)
        except PartError as error:
            refused = error
    shared = time.monotonic() - began
    failed = 0
    for part in missing:
        began = time.monotonic()
        try:
            if refused and set(part.debian) & set(debian.absent(part.debian)):
                raise refused
            _bring(part)
        except (PartError, OSError) as error:
            failed += 1
            _say(part, f"cannot: {error}\n  how to get it: {part.how_to_get}")
            continue
        took = time.monotonic() - began
        apart = f", after {shared:.0f} s for all Debian packages" if part.debian and packages else ""
        _say(part, f"installed in {took:.0f} s{apart}")
    return 1 if failed else 0


def _bring(part: Part) -> None:
    """Install one part, and run it once before it counts as here."""
    if part.install:
        print(f"installing {part.name} {part.version}", file=sys.stderr, flush=True)
        with cache.filling(part.folder) as fresh:
            part.install(fresh)
            command.run([fresh / "bin" / part.binaries[0], *part.probe], timeout=60)
    found = part.find()
    if not found:
        raise PartError(f"{', '.join(part.binaries)} are neither in its folder nor on PATH")
    if not part.install:
        command.run([found.path, *part.probe], timeout=60)


if __name__ == "__main__":
    # So that a build is ended, and a service policy taken back, when a CI job is cancelled.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
