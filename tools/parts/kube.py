"""Programs of a Kubernetes cluster, built of one Go module: `tools/parts/kubernetes` pins what they need.

One module, so that all of them share their libraries, which are most of the work; `go install MODULE@VERSION`
refuses Kubernetes, as its modules replace others by paths of their repository.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tools.parts import command, golang

VERSION = "1.34.4"
_MODULE = Path(__file__).parent / "kubernetes"
_BUILD_LIMIT = 1800.0


def build(folder: Path, packages: Iterable[str], *, flags: str = "-s -w") -> None:
    """Build these packages into `folder/bin`, one after the other: two linkers at once need 4 GB.

    The version is put where it is read from, as otherwise clients take the server for one of no version."""
    (folder / "bin").mkdir(parents=True)
    for package in packages:
        command.run(
            [
                *(golang.binary(), "-C", _MODULE, "build", "-mod=readonly", "-trimpath"),
                *("-ldflags", f"{flags} -X k8s.io/component-base/version.gitVersion=v{VERSION}"),
                *("-o", folder / "bin" / package.rsplit("/", 1)[1], package),
            ],
            timeout=_BUILD_LIMIT,
            env={"CGO_ENABLED": "0"},
        )
