"""The project's own image on the real node, put together of this machine's Python and what is installed here.

deploy/platform/Dockerfile, which makes the real one, is built by the tests of one-off containers on a Docker Engine."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import tempfile
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import IO

from tests.cluster.use import Cluster
from tests.servers.image import ROOT, python_files

IMAGE = "docker.io/ops-test/ops-pipelines:data"
_SITE = "app/site"
_NOT_NEEDED = re.compile(
    r"dagster(?!-pipes)|kubernetes|pymilvus|milvus|pandas|docker|apprise|psycopg|supervisor|"
    r"huggingface|hf-xet|chdb|grpc|sqlalchemy|tornado|uvicorn|starlette|graphene"
)
"""Packages that no part's work imports."""
_LEFT_OUT = re.compile(r"(^|/)(__pycache__|tests|include)/|^\.\.|^botocore/data/(?!s3/)[a-z0-9-]+/")
"""Their files that nothing reads."""


def load(cluster: Cluster) -> str:
    """Name of the image, which is on the node from now on."""
    with cluster.once("image-of-our-own") as first:
        if first:
            with tempfile.NamedTemporaryFile(dir=cluster.folder, suffix=".tar") as archive:
                _write(archive)
                archive.flush()
                cluster.node.import_archive(archive)
    return IMAGE


def _write(file: IO[bytes]) -> None:
    layers = [python_files(), _own()]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Env": [
                "PATH=/usr/local/bin:/usr/bin:/bin",
                f"PYTHONPATH=/{_SITE}",
                "PYTHONUNBUFFERED=1",
                "PYTHONDONTWRITEBYTECODE=1",
            ],
            "Entrypoint": [
                "python",
                "-c",
                "import sys; from ops_pipelines.cli import main; sys.exit(main())",
            ],
            "User": "10001:10001",
        },
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{hashlib.sha256(one).hexdigest()}" for one in layers],
        },
    }
    paths = [f"{number}/layer.tar" for number in range(len(layers))]
    listed = [{"Config": "config.json", "RepoTags": [IMAGE], "Layers": paths}]
    with tarfile.open(fileobj=file, mode="w|") as tar:
        for name, content in (
            ("config.json", json.dumps(config).encode()),
            *zip(paths, layers, strict=True),
            ("manifest.json", json.dumps(listed).encode()),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def _own() -> bytes:
    """Our code and the packages that it needs, with those that they need."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(ROOT / "ops_pipelines", f"{_SITE}/ops_pipelines", filter=_code)
        for one in _needed():
            for path in one.files or ():
                found = Path(str(one.locate_file(path)))
                if not _LEFT_OUT.search(str(path)) and found.is_file():
                    tar.add(found.resolve(), f"{_SITE}/{path}")
    return archive.getvalue()


def _code(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if "__pycache__" in member.name else member


def _needed() -> Iterator[Distribution]:
    seen, left = set[str](), ["ops-pipelines", "dagster-pipes"]
    while left:
        name = re.sub(r"[-_.]+", "-", left.pop()).lower()
        if name in seen or _NOT_NEEDED.match(name):
            continue
        seen.add(name)
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        yield found
        wanted = (line for line in found.requires or () if "extra ==" not in line)
        left += [re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in wanted]
