"""CustomResourceDefinitions of the operators that charts speak to, out of the Go modules of those operators.

Each set lies in `crds/<set>` of the part's folder; karpenter-aws holds only what Karpenter itself does not bring.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tools.parts import golang
from tools.parts.part import Part, PartError

VERSION = "1"
SETS: dict[str, tuple[str, str, str]] = {
    "keda": ("github.com/kedacore/keda/v2", "v2.18.1", "config/crd/bases/*.yaml"),
    "karpenter": ("sigs.k8s.io/karpenter", "v1.8.0", "pkg/apis/crds/*.yaml"),
    "karpenter-aws": (
        "github.com/aws/karpenter-provider-aws",
        "v1.3.3",
        "pkg/apis/crds/karpenter.k8s.aws_*.yaml",
    ),
    "kuberay": ("github.com/ray-project/kuberay/ray-operator", "v1.4.2", "config/crd/bases/*.yaml"),
    "gateway-api": (
        "sigs.k8s.io/gateway-api",
        "v1.4.0",
        "config/crd/standard/gateway.networking.k8s.io_*.yaml",
    ),
    "prometheus-operator": (
        "github.com/prometheus-operator/prometheus-operator",
        "v0.78.2",
        "example/prometheus-operator-crd/*.yaml",
    ),
    "vpa": ("k8s.io/autoscaler/vertical-pod-autoscaler", "v1.7.0", "deploy/vpa-v1-crd-gen.yaml"),
    "snapshots": (
        "github.com/kubernetes-csi/external-snapshotter/client/v8",
        "v8.6.0",
        "config/crd/snapshot.storage.k8s.io_*.yaml",
    ),
}
"""Module, its version, and the files in it, by the name of the set."""


def _install(folder: Path) -> None:
    lines = []
    for name, (module, version, pattern) in SETS.items():
        found = sorted(golang.module(module, version).glob(pattern))
        if not found:
            raise PartError(f"{module}@{version} has no {pattern} any more")
        target = folder / "crds" / name
        target.mkdir(parents=True)
        for file in found:
            shutil.copyfile(file, target / file.name)
        lines.append(f"{name} {version}: {len(found)}\n")
    (folder / "bin").mkdir()
    script = folder / "bin" / "kube-crds"
    script.write_text(f"#!/bin/sh\ncat <<'END'\n{''.join(lines)}END\n")
    script.chmod(0o755)


PARTS = (
    Part(
        name="kube-crds",
        version=VERSION,
        binaries=("kube-crds",),
        how_to_get="make parts (Go module proxy, some 200 MB)",
        install=_install,
    ),
)
