"""etcd and etcdctl, built from the Go module proxy: Debian's etcd is too old for what asks for it.

Their modules replace others by paths of their repository, so `go install MODULE@VERSION` refuses them; a module of
our own that requires them does not.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tools.parts import cache, command, golang
from tools.parts.part import Part

VERSION = "3.6.5"
_COMMANDS = {"etcd": "go.etcd.io/etcd/server/v3", "etcdctl": "go.etcd.io/etcd/etcdctl/v3"}


def _install(folder: Path) -> None:
    go = golang.binary()
    with tempfile.TemporaryDirectory(dir=cache.root()) as made:
        Path(made, "go.mod").write_text("module parts\n\ngo 1.24\n")
        imports = "\n".join(f'import _ "{module}"' for module in _COMMANDS.values())
        Path(made, "tools.go").write_text(f"//go:build tools\n\npackage parts\n\n{imports}\n")
        command.run(
            [go, "-C", made, "get", *(f"{module}@v{VERSION}" for module in _COMMANDS.values())], timeout=600
        )
        for name, module in _COMMANDS.items():
            command.run(
                [
                    go,
                    "-C",
                    made,
                    "build",
                    "-trimpath",
                    "-ldflags",
                    "-s -w",
                    "-o",
                    folder / "bin" / name,
                    module,
                ],
                timeout=900,
                env={"CGO_ENABLED": "0"},
            )


PARTS = (
    Part(
        name="etcd",
        version=VERSION,
        binaries=("etcd", "etcdctl"),
        how_to_get="make parts (builds it with Go in about 2 minutes)",
        install=_install,
    ),
)
