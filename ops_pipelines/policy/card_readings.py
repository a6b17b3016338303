"""What the vendors' tools print of cards, read: nvidia-smi, rocm-smi. What they do not say is unknown, never zero."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ops_pipelines.policy.machine import Card

NVIDIA = (
    "nvidia-smi",
    "--query-gpu=index,name,memory.total,memory.used",
    "--format=csv,noheader,nounits",
)
"""Asks for what `nvidia_cards` reads; sizes are MiB (nvidia-smi --help-query-gpu)."""
ROCM = ("rocm-smi", "--showmeminfo", "vram", "--showproductname", "--json")
"""Asks for what `rocm_cards` reads; sizes are bytes."""
_MIB = 1 << 20


def nvidia_cards(text: str) -> tuple[Card, ...]:
    """Cards by what `NVIDIA` printed. Raises ValueError where it is something else (an error in words)."""
    found = []
    for line in text.splitlines():
        if not line.strip():
            continue
        words = [word.strip() for word in line.split(",")]
        if len(words) < 4 or not words[0].isdecimal() or not words[-2].isdecimal():
            raise ValueError(f"nvidia-smi said: {line.strip()[:200]}")
        total = int(words[-2]) * _MIB
        used = int(words[-1]) * _MIB if words[-1].isdecimal() else None  # `[N/A]` on some cards
        found.append(
            Card(int(words[0]), ", ".join(words[1:-2]), total, None if used is None else total - used)
        )
    return tuple(found)


def rocm_cards(text: str) -> tuple[Card, ...]:
    """Cards by what `ROCM` printed. Raises ValueError where it is something else."""
    start = text.find("{")  # warnings may stand before it
    if start < 0:
        raise ValueError(f"rocm-smi said: {text.strip()[:200] or 'nothing'}")
    raw: dict[str, Any] = json.loads(text[start:])
    found = []
    for key, facts in raw.items():
        match = re.fullmatch(r"card(\d+)", key)
        if match is None or not isinstance(facts, dict):
            continue
        total, used = _bytes(facts, "VRAM Total Memory (B)"), _bytes(facts, "VRAM Total Used Memory (B)")
        if total is None:
            raise ValueError(f"rocm-smi does not say how much memory {key} has")
        name = next((str(facts[word]) for word in _NAMES if facts.get(word)), key)
        found.append(Card(int(match[1]), name, total, None if used is None else total - used))
    return tuple(sorted(found, key=lambda card: card.index))


_NAMES = ("Card Series", "Card series", "Card Model", "Card model")


def _bytes(facts: Mapping[str, Any], key: str) -> int | None:
    text = str(facts.get(key, ""))
    return int(text) if text.isdecimal() else None
