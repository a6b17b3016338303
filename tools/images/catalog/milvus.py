"""Milvus as PyPI has it, run as the image's own command runs it: standalone, with etcd and an object store beside."""

from __future__ import annotations

import lzma
import re
import shutil
from pathlib import Path

from tools.images.base import BASH, CURL, SLIM
from tools.images.image import Image
from tools.images.layer import Folder, Layer
from tools.parts import all_parts
from tools.parts.part import PartError

_SETTINGS = {
    "etcd_data_dir": "/var/lib/milvus/etcd",
    "local_storage_dir": "/var/lib/milvus/data",
    "rocksmq_data_dir": "/var/lib/milvus/rdb_data",
}


def _fill(root: Path) -> None:
    found = all_parts()["milvus"].find()
    if found is None:
        raise PartError(f"milvus is not here: {all_parts()['milvus'].how_to_get}")
    [data] = found["python"].parent.parent.glob("lib/python*/site-packages/milvus/data")
    for packed in sorted(data.glob("bin/*.lzma")):
        place = root / "milvus" / ("bin" if packed.stem == "milvus" else "lib") / packed.stem
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(lzma.decompress(packed.read_bytes()))
        place.chmod(0o755)
    place = root / "milvus/configs/milvus.yaml"
    place.parent.mkdir()
    place.write_text(_settled((data / "config.yaml.template").read_text()))
    shutil.copy(data / "glog.conf", place.parent)


def _settled(template: str) -> str:
    """The package's own settings with what its launcher would fill in, for etcd and an object store beside it: their
    addresses and keys come from the environment (ETCD_ENDPOINTS, MINIO_ADDRESS, ...)."""

    def value(found: re.Match[str]) -> str:
        return _SETTINGS.get(found[1], (found[2] or "").strip())

    text = re.sub(r"\{\{\s*(\w+)(?:\(\w+\))?(?::\s*([^}]*))?\s*\}\}", value, template)
    return text.replace("embed: true", "embed: false").replace("storageType: local", "storageType: minio")


_MILVUS = Layer(
    "milvus",
    f"{all_parts()['milvus'].version}, unpacked with its configuration, {_SETTINGS}",
    _fill,
    (Folder("var/lib/milvus"),),
)

IMAGES = (
    Image(
        names=("milvusdb/milvus:v2.5.10",),
        layers=(*SLIM, BASH, CURL, _MILVUS),
        real="Milvus 2.3.5 of PyPI",
        environment={
            "PATH": "/milvus/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LD_LIBRARY_PATH": "/milvus/lib:/usr/lib",
            "MILVUSCONF": "/milvus/configs",
        },
        folder="/milvus",
    ),
)
