"""What servers hold and cards have: read from what tools print, joined with what is declared."""

from __future__ import annotations

from typing import Any

import pytest

from ops_pipelines.policy.card_readings import nvidia_cards, rocm_cards
from ops_pipelines.policy.machine import Card
from ops_pipelines.policy.serving import (
    CardsSeen,
    LoadedModel,
    ServerModels,
    card_lines,
    card_rows,
    model_lines,
    model_rows,
)
from ops_pipelines.stack.model import Stack

MIB, GB = 1 << 20, 1000**3

# nvidia-smi --help-query-gpu: numbers in MiB; what a card does not support is [N/A].
SMI = "0, NVIDIA RTX A4500, 20470, 8123\n1, NVIDIA RTX A4500, 20470, [N/A]\n"
# https://github.com/marimo-team/marimo/issues/9237, shortened
ROCM = """WARNING: AMD GPU device(s) is/are in a low-power state. Check power control/runtime_status

{"card0": {"VRAM Total Memory (B)": "21458059264", "VRAM Total Used Memory (B)": "27856896",
           "Card Series": "Radeon RX 7900 XT", "Card Model": "0x744c"},
 "system": {"Driver version": "6.7.0"}}"""


def test_nvidia() -> None:
    assert nvidia_cards(SMI) == (
        Card(0, "NVIDIA RTX A4500", 20470 * MIB, (20470 - 8123) * MIB),
        Card(1, "NVIDIA RTX A4500", 20470 * MIB, None),
    )
    with pytest.raises(ValueError, match="couldn't communicate"):
        nvidia_cards("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.")
    assert nvidia_cards("") == ()


def test_rocm() -> None:
    assert rocm_cards(ROCM) == (Card(0, "Radeon RX 7900 XT", 21458059264, 21458059264 - 27856896),)
    for said in ("", "ERROR: no ROCm", '{"card0": {"VRAM Total Memory (B)": "N/A"}}', "{broken"):
        with pytest.raises(ValueError, match=r"rocm-smi|Expecting"):
            rocm_cards(said)


def stack(**changes: Any) -> Stack:
    """A base and an adapter at one Ollama on card 0, and a vLLM on card 1."""
    return Stack.model_validate(
        {
            "stack": "chat",
            "description": "Two servers.",
            "owners": ["team:a"],
            "target": {"kind": "process"},
            "caches": {"c": {"layout": "ollama", "path": "/c"}, "h": {"layout": "huggingface", "path": "/h"}},
            "models": {
                "adapter": {"source": "ollama:sql", "role": "adapter", "cache": "c", "served_by": "ollama"},
                "base": {"source": "ollama:llama3", "cache": "c", "served_by": "ollama"},
                "phi": {"source": "hf:microsoft/phi@main", "cache": "h", "served_by": "vllm"},
            },
            "components": {
                "ollama": {"kind": "ollama", "replicas": 2, "resources": {"gpu": 0, "gpu_memory": "8G"}},
                "vllm": {"kind": "vllm", "resources": {"gpu": 1, "gpu_memory": "6G"}},
            },
            **changes,
        }
    )


OLLAMA = ServerModels(
    "ollama", "chat.ollama.0", "http://x", (LoadedModel("llama3:latest", 6 * GB, 5 * GB, until="2026"),)
)
ASLEEP = ServerModels("vllm", "v", "http://y", (LoadedModel("microsoft/phi", asleep=True),), share=0.9)


def states(*seen: ServerModels) -> list[tuple[str, str, str, str]]:
    return [(r["replica"], r["model"], r["declared"], r["state"]) for r in model_rows(stack(), seen)]


def test_models() -> None:
    assert states(OLLAMA, ASLEEP) == [
        ("chat.ollama.0", "llama3:latest", "base", "loaded"),
        ("chat.ollama.0", "sql", "adapter", "not loaded"),
        ("v", "microsoft/phi", "phi", "asleep"),
    ]
    gone = ServerModels("ollama", "chat.ollama.1", "", None, "does not answer")
    assert states(gone) == [
        ("chat.ollama.1", "llama3", "base", "unknown"),
        ("chat.ollama.1", "sql", "adapter", "unknown"),
    ], "unknown is said for each, base first; never `not loaded`"
    other = ServerModels("ollama", "r", "", (LoadedModel("mistral:latest", 1, 0),))
    assert ("r", "mistral:latest", "", "loaded") in states(other), "what nobody declared is shown too"


def test_words_for_people() -> None:
    rows = model_rows(
        stack(), (OLLAMA, ServerModels("vllm", "v", "", (LoadedModel("microsoft/phi"),), share=0.9))
    )
    lines = {line["model"]: line for line in model_lines(rows)}
    assert lines["llama3:latest"]["on cards"] == "4.7 GiB"
    assert (lines["microsoft/phi"]["memory"], lines["microsoft/phi"]["on cards"]) == (
        "unknown",
        "90% of each of its cards",
    )
    assert lines["sql"]["memory"] == ""


def test_cards() -> None:
    seen = CardsSeen((Card(0, "A4500", 20 * GB, 12 * GB), Card(2, "A4500", 20 * GB, None)))
    rows = {row["card"]: row for row in card_rows(stack(), seen)}
    assert (rows[0]["used"], rows[0]["declared"]) == (8 * GB, 16 * GB), "both replicas count"
    assert (rows[1]["memory"], rows[1]["detail"]) == (None, "this machine has no such card")
    assert (rows[2]["used"], rows[2]["declared"]) == (None, None)
    assert [line["used"] for line in card_lines(list(rows.values()))] == ["7.5 GiB", "unknown", "unknown"]
    unknown = card_rows(stack(), CardsSeen(None, "NVML cannot be asked"))
    assert [(row["card"], row["memory"], row["detail"]) for row in unknown] == [
        (0, None, "NVML cannot be asked"),
        (1, None, "NVML cannot be asked"),
    ]
