"""Prometheus and Alertmanager of Debian. Their images have a shell with wget."""

from __future__ import annotations

from tools.images import debian
from tools.images.base import ALPINE
from tools.images.image import Image
from tools.images.layer import Folder, files_layer

_PAGES = ("libjs*", "fonts-*", "javascript-common")
_PROMETHEUS = debian.packages("prometheus", "prometheus", without=_PAGES)
# Of Debian 13: that of Debian 12 reads no URL from a file.
_ALERTMANAGER = debian.newer("alertmanager", "prometheus-alertmanager")
_PLACES = files_layer("prometheus-folders", {}, Folder("prometheus", 65534, 65534), Folder("etc/prometheus"))
_ALERT_PLACES = files_layer(
    "alertmanager-folders", {}, Folder("alertmanager", 65534, 65534), Folder("etc/alertmanager")
)

IMAGES = (
    Image(
        names=("prom/prometheus:v3.4.1",),
        layers=(*ALPINE, _PROMETHEUS, _PLACES),
        real="Prometheus 2.42 of Debian",
        entrypoint=("/bin/prometheus",),
        command=("--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"),
        user="nobody",
        volumes=("/prometheus",),
        folder="/prometheus",
    ),
    Image(
        names=("prom/alertmanager:v0.28.1",),
        layers=(*ALPINE, _ALERTMANAGER, _ALERT_PLACES),
        real="Alertmanager 0.28 of Debian 13",
        entrypoint=("/bin/prometheus-alertmanager",),
        command=("--config.file=/etc/alertmanager/alertmanager.yml", "--storage.path=/alertmanager"),
        user="nobody",
        volumes=("/alertmanager",),
        folder="/alertmanager",
    ),
)
