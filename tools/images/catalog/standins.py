"""Servers that no registry has: Langfuse, Grafana, Loki, Alloy, Jaeger, Open WebUI, Langflow, DCGM's exporter,
Qdrant, and ClickHouse's own.

Each image has the programs that its healthcheck runs, and no others that the real one lacks.
"""

from __future__ import annotations

from pathlib import Path

from tools.images import python
from tools.images.base import ALPINE, BASH, CURL, PYTHON, SLIM, passwd
from tools.images.image import Image
from tools.images.layer import Folder, Layer, files_layer

_PROGRAMS = Path(__file__).resolve().parents[1] / "programs"
_TESTS = Path(__file__).resolve().parents[3] / "tests" / "servers"
_STANDIN = files_layer("standin", {"standin.py": _PROGRAMS / "standin.py"})
_YAML = python.packages("yaml")


def _standin(
    name: str, *images: str, layers: tuple[Layer, ...], version: str = "", user: str = "", about: str = ""
) -> Image:
    return Image(
        names=images,
        layers=(*layers, PYTHON, _YAML, _STANDIN),
        real=about or "a small server of its addresses, as strict about variables, files and neighbours",
        stands_in=True,
        entrypoint=("python3", "/standin.py", name),
        environment={"STANDIN_VERSION": version},
        user=user,
    )


_GRAFANA = files_layer(
    "grafana-folders",
    passwd("grafana:x:472:0::/home/grafana:/bin/sh"),
    Folder("var/lib/grafana", 472, 0, 0o777),
)
_LOKI = files_layer("loki-folders", {}, Folder("loki", 10001, 10001), Folder("etc/loki"))
_ALLOY = files_layer("alloy-folders", {}, Folder("var/lib/alloy/data"), Folder("etc/alloy"))
_JAEGER = files_layer("jaeger-folders", {}, Folder("tmp", 0, 0, 0o1777), Folder("etc/jaeger"))
_WEBUI = files_layer("webui-folders", {}, Folder("app/backend/data"))
_LANGFLOW = files_layer("langflow-folders", {}, Folder("app/langflow"))
_QDRANT = files_layer(
    "qdrant",
    {**passwd("qdrant:x:1000:1000::/qdrant:/bin/sh"), "qdrant/qdrant.py": _TESTS / "_qdrant.py"},
    Folder("qdrant/storage", 1000, 1000),
)
_CLICKHOUSE = files_layer(
    "clickhouse",
    {
        **passwd("clickhouse:x:101:101::/var/lib/clickhouse:/bin/sh", groups=("clickhouse:x:101:",)),
        "clickhouse.py": _TESTS / "_clickhouse_shim.py",
        "entrypoint.sh*": _PROGRAMS / "clickhouse.sh",
    },
    Folder("var/lib/clickhouse", 101, 101),
    Folder("etc/clickhouse-server/config.d"),
)

IMAGES = (
    _standin("langfuse", "langfuse/langfuse:3.120.0", layers=ALPINE, version="3.120.0"),
    _standin("langfuse", "langfuse/langfuse:2.95.9", layers=ALPINE, version="2.95.9"),
    _standin("langfuse-worker", "langfuse/langfuse-worker:3.120.0", layers=ALPINE),
    _standin(
        "grafana",
        "grafana/grafana:12.0.1",
        layers=(*ALPINE, _GRAFANA),
        user="472",
        about="a small server that reads Grafana's provisioning files, dashboards and password, and lists them",
    ),
    _standin("loki", "grafana/loki:3.5.5", layers=(*ALPINE, _LOKI), user="10001"),
    _standin("alloy", "grafana/alloy:v1.10.2", layers=(*SLIM, BASH, _ALLOY)),
    _standin("jaeger", "jaegertracing/jaeger:2.10.0", layers=(*ALPINE, _JAEGER), user="10001"),
    _standin("open-webui", "ghcr.io/open-webui/open-webui:v0.6.32", layers=(*SLIM, BASH, CURL, _WEBUI)),
    _standin("langflow", "langflowai/langflow:1.6.4", layers=(*SLIM, BASH, CURL, _LANGFLOW)),
    _standin(
        "dcgm-exporter",
        "nvcr.io/nvidia/k8s/dcgm-exporter:4.2.3-4.1.3-ubuntu22.04",
        layers=(*SLIM, BASH),
        about="DCGM's names, with no card behind them",
    ),
    Image(
        names=("qdrant/qdrant:v1.15.4-unprivileged",),
        layers=(*SLIM, BASH, PYTHON, _QDRANT),
        real="the tests' server of Qdrant's REST API, which keeps what it is told in its folder",
        stands_in=True,
        command=("python3", "/qdrant/qdrant.py"),
        user="1000",
        folder="/qdrant",
    ),
    Image(
        names=("clickhouse/clickhouse-server:25.8-alpine",),
        layers=(
            *ALPINE,
            PYTHON,
            python.packages("chdb", drop=("pandas*", "numpy*", "pyarrow*")),
            _CLICKHOUSE,
        ),
        real="ClickHouse's own engine (chdb), behind a small server of its HTTP interface",
        stands_in=True,
        entrypoint=("/entrypoint.sh",),
        volumes=("/var/lib/clickhouse",),
    ),
)
