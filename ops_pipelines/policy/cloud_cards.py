"""Which cards each cloud lends to containers without a cluster, and what is refused with words.

The table is as of `AS_OF`; offers change, and what is not in it is refused as not known to be sold, which names the
page to look at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

AS_OF = "2026-11-21"


@dataclass(frozen=True)
class Card:
    """A card as a cloud lends it."""

    name: str
    """The cloud's name of it."""
    memory_gb: int
    """Memory of one card in GB (10^9 bytes), as the vendor sells it."""
    most: int
    """How many one container may have."""
    on: tuple[str, ...] = ()
    """Machines that have it, or their families, where they are chosen by name."""


@dataclass(frozen=True)
class Cloud:
    """What one service lends."""

    title: str
    page: str
    """Where its vendor says it."""
    cards: Mapping[str, Card] = field(default_factory=dict)
    note: str = ""
    """Why there are no others, or what else holds."""
    instead: str = ""
    """Where to go for more."""


_ECS = "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-gpu.html"
_RUN = "https://cloud.google.com/run/docs/configuring/services/gpu"
_ACI = "https://learn.microsoft.com/azure/container-instances/container-instances-gpu"

CLOUDS: Mapping[str, Cloud] = MappingProxyType(
    {
        "ecs": Cloud(
            "Amazon ECS on EC2",
            _ECS,
            {
                "T4": Card("T4", 16, 8, ("g4dn",)),
                "A10G": Card("A10G", 24, 8, ("g5",)),
                "L4": Card("L4", 24, 8, ("g6",)),
                "L40S": Card("L40S", 48, 8, ("g6e",)),
                "A100": Card("A100", 40, 8, ("p4d.24xlarge",)),
                "A100-80": Card("A100", 80, 8, ("p4de.24xlarge",)),
                "H100": Card("H100", 80, 8, ("p5.48xlarge",)),
            },
            "A task on Fargate has no card.",
            "another instance type of the capacity provider",
        ),
        "cloud-run": Cloud(
            "Google Cloud Run",
            _RUN,
            {
                "L4": Card("nvidia-l4", 24, 1),
                "RTX-PRO-6000": Card("nvidia-rtx-pro-6000", 96, 1),
            },
            "An instance has one card.",
            "GKE, by the chart helm/aphrodite, where a pod has four",
        ),
        "aci": Cloud(
            "Azure Container Instances",
            _ACI,
            {},
            "Container groups with cards (K80, P100, V100) were retired on 14 July 2025.",
            "AKS, by the chart helm/aphrodite; the gateway runs on Container Instances without a card",
        ),
    }
)


def refusals(cloud: str, card: str, count: int, memory_gb: int = 0) -> list[str]:
    """Why an engine cannot have `count` cards of a kind, of which it needs `memory_gb` in all; empty where it can."""
    offer = CLOUDS.get(cloud)
    if offer is None:
        return [f"{cloud} is none of {', '.join(CLOUDS)}"]
    where = f"(as of {AS_OF}, {offer.page}); take {offer.instead}"
    if not offer.cards:
        return [f"{offer.title} lends no card, and {count} {card} are asked for. {offer.note} {where}"]
    found = offer.cards.get(card)
    if found is None:
        return [f"{offer.title} lends no {card}, but {', '.join(offer.cards)}. {offer.note} {where}"]
    said = []
    if count > found.most:
        said.append(
            f"{offer.title} lends a container {found.most} {card} at most, and {count} are asked for. "
            f"{offer.note} {where}"
        )
    if memory_gb > count * found.memory_gb:
        have = count * found.memory_gb
        said.append(f"{count} {card} have {have} GB together, and the model needs {memory_gb} {where}")
    return said


def asked(document: Mapping[str, Any]) -> tuple[str, str, int]:
    """Cloud, card and number of them of an ECS task definition, a Cloud Run service or an ACI container group.

    The card is empty where none is asked for, or where nothing says which."""
    if "containerDefinitions" in document:
        wanted = [
            one for each in document["containerDefinitions"] for one in each.get("resourceRequirements", ())
        ]
        count = sum(int(one["value"]) for one in wanted if one["type"] == "GPU")
        places = " ".join(one.get("expression", "") for one in document.get("placementConstraints", ()))
        return "ecs", _on_machine(places), count
    if "template" in document:
        template = document["template"]
        limits = [one.get("resources", {}).get("limits", {}) for one in template.get("containers", ())]
        count = sum(int(one.get("nvidia.com/gpu", 0)) for one in limits)
        name = template.get("nodeSelector", {}).get("accelerator", "")
        cards = CLOUDS["cloud-run"].cards
        return "cloud-run", next((key for key, one in cards.items() if one.name == name), name), count
    groups = document.get("properties", {}).get("containers", ())
    resources = [one["properties"]["resources"]["requests"].get("gpu") for one in groups]
    found = [one for one in resources if one]
    return "aci", found[0]["sku"] if found else "", sum(int(one["count"]) for one in found)


def _on_machine(places: str) -> str:
    """The card of the machines that an expression asks for: the longest name that it holds."""
    named = [
        (len(machine), key)
        for key, card in CLOUDS["ecs"].cards.items()
        for machine in card.on
        if machine in places
    ]
    return max(named)[1] if named else ""
