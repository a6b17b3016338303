"""A Kubernetes cluster's own programs: the control plane, a node's agents, nodes that only seem to be.

`KUBEBUILDER_ASSETS` is looked into as well, where controllers' authors keep such programs: all five must lie there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from tools.parts import kube
from tools.parts.part import Part

_PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
KWOK = "0.6.1"


def _assets() -> Iterable[Path]:
    named = os.environ.get("KUBEBUILDER_ASSETS")
    return (Path(named),) if named else ()


PARTS = (
    Part(
        name="kubernetes",
        version=kube.VERSION,
        binaries=_PROGRAMS,
        how_to_get="make parts (builds it with Go in about 6 minutes), or name their folder in KUBEBUILDER_ASSETS",
        install=lambda folder: kube.build(folder, [f"k8s.io/kubernetes/cmd/{name}" for name in _PROGRAMS]),
        folders=_assets,
    ),
    Part(
        name="kwok",
        version=KWOK,
        binaries=("kwok",),
        how_to_get="make parts (builds it with Go in about a minute), or put kwok on PATH",
        install=lambda folder: kube.build(
            folder,
            ["sigs.k8s.io/kwok/cmd/kwok"],
            flags=f"-s -w -X sigs.k8s.io/kwok/pkg/consts.Version={KWOK}",
        ),
        folders=_assets,
    ),
)
