"""Nodes that only seem to run their pods (kwok), with the GPUs and the labels that real ones have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

POOL = "ops-test/pool"
"""Label by which a namespace's pods stay on its own nodes."""


def gpu_node(
    name: str,
    pool: str,
    *,
    gpus: int = 4,
    product: str = "NVIDIA-A100-SXM4-80GB",
    memory_mib: int = 81920,
    replicas: int = 1,
    cpu: str = "64",
    memory: str = "512Gi",
    labels: Mapping[str, str] | None = None,
    taints: Sequence[Mapping[str, str]] = (),
    allocatable: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A node with `gpus` cards of `memory_mib` MiB each, labelled as NVIDIA's GPU feature discovery does
    (github.com/NVIDIA/k8s-device-plugin, docs/gpu-feature-discovery). `replicas` above 1 is time slicing: so many
    pods share a card, and the product's label says so. 0 cards: a node without GPUs. `allocatable` adds other
    resources, such as those of MIG or of another vendor."""
    has = {"cpu": cpu, "memory": memory, "pods": "110", "ephemeral-storage": "1Ti", **(allocatable or {})}
    found: dict[str, str] = {}
    if gpus:
        has["nvidia.com/gpu"] = str(gpus * replicas)
        found = {
            "nvidia.com/gpu.present": "true",
            "nvidia.com/gpu.count": str(gpus),
            "nvidia.com/gpu.product": product if replicas == 1 else f"{product}-SHARED",
            "nvidia.com/gpu.memory": str(memory_mib),
            "nvidia.com/gpu.replicas": str(replicas),
            "nvidia.com/gpu.sharing-strategy": "none" if replicas == 1 else "time-slicing",
            "nvidia.com/mig.capable": "false",
        }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "type": "kwok",
                POOL: pool,
                **found,
                **(labels or {}),
            },
        },
        "spec": {"taints": list(taints)},
        "status": {"allocatable": has, "capacity": has},
    }
