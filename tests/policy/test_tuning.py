"""Settings of model servers: each row flips one fact of a machine or a stack."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ops_pipelines.policy.machine import Card
from ops_pipelines.policy.tuning import GIB, Hardware, advice, given_to, tier, tune, unfit
from ops_pipelines.stack.model import Stack

NVIDIA = Hardware("nvidia", 16, 64 * GIB, (Card(0, "A6000", 48 * GIB, 48 * GIB),))


def card(gib: float, index: int = 0) -> Card:
    return Card(index, "card", int(gib * GIB), int(gib * GIB))


def stack(components: dict[str, Any], models: dict[str, Any]) -> Stack:
    return Stack.model_validate(
        {
            "stack": "s",
            "description": "d",
            "owners": ["team:x"],
            "target": {"kind": "process"},
            "components": components,
            "models": {key: {"served_by": next(iter(components)), **one} for key, one in models.items()},
        }
    )


def ollama(source: str = "ollama:llama3:70b", **model: Any) -> Stack:
    return stack({"ollama": {"kind": "ollama"}}, {"chat": {"source": source, **model}})


def values(made: Stack, hardware: Hardware, **goal: Any) -> dict[str, str]:
    return {one.name: one.value for one in tune(made, hardware, **goal)}


@pytest.mark.parametrize(
    ("hardware", "expected"),
    [
        (NVIDIA, {"num_gpu": "-1", "num_batch": "2048", "num_ctx": "4096", "OLLAMA_NUM_PARALLEL": "8"}),
        (replace(NVIDIA, cards=(card(20),)), {"num_gpu": "35", "num_batch": "512", "num_ctx": "4096"}),
        (replace(NVIDIA, cards=(card(23.7),)), {"num_gpu": "-1", "num_batch": "2048"}),
        (replace(NVIDIA, cards=()), {"num_gpu": "35", "num_batch": "512"}),
        (
            Hardware("cpu", 8, 32 * GIB),
            {"num_gpu": "0", "OLLAMA_NUM_PARALLEL": "4", "OLLAMA_FLASH_ATTENTION": "0"},
        ),
        (replace(NVIDIA, maker="amd"), {"OLLAMA_FLASH_ATTENTION": "0", "OLLAMA_GPU_OVERHEAD": str(2 * GIB)}),
        (replace(NVIDIA, cores=6), {"num_thread": "6"}),
        (
            Hardware("apple", 8, 16 * GIB),
            {"num_gpu": "35", "num_batch": "1024", "OLLAMA_MAX_LOADED_MODELS": "2"},
        ),
        (
            Hardware("apple", 8, 64 * GIB),
            {"num_gpu": "-1", "num_batch": "4096", "OLLAMA_CONTEXT_LENGTH": "16384"},
        ),
    ],
)
def test_ollama(hardware: Hardware, expected: dict[str, str]) -> None:
    found = values(ollama(), hardware)
    assert {name: found[name] for name in expected} == expected


def test_the_table_is_not_changed_by_a_small_card() -> None:
    values(ollama(), replace(NVIDIA, cards=(card(8),)))
    assert values(ollama(), NVIDIA)["num_gpu"] == "-1"


def test_a_model_larger_than_the_card_is_split() -> None:
    found = values(ollama(memory="96G"), NVIDIA)
    assert 0 < int(found["num_gpu"]) < 35


def test_every_setting_is_one_that_the_server_has() -> None:
    """OLLAMA_NUM_GPU, OLLAMA_NUM_THREAD and OLLAMA_GPU_MEMORY_FRACTION are none of Ollama's."""
    known = {
        "OLLAMA_NUM_PARALLEL", "OLLAMA_MAX_LOADED_MODELS", "OLLAMA_FLASH_ATTENTION", "OLLAMA_KV_CACHE_TYPE",
        "OLLAMA_GPU_OVERHEAD", "OLLAMA_CONTEXT_LENGTH", "num_gpu", "num_batch", "num_ctx", "num_thread",
    }  # fmt: skip
    for hardware in (
        NVIDIA,
        Hardware("cpu", 8, None),
        Hardware("apple", 8, 8 * GIB),
        replace(NVIDIA, maker="intel"),
    ):
        assert set(values(ollama(), hardware)) <= known
    assert set(values(ollama(), NVIDIA, goal="memory")) <= known


@pytest.mark.parametrize(("gib", "loaded"), [(8, 1), (15.6, 2), (16, 2), (32, 3), (63, 4), (192, 4)])
def test_tiers_of_apple(gib: float, loaded: int) -> None:
    assert tier(int(gib * GIB)).loaded == loaded


def vllm(count: int = 1, **resources: Any) -> Stack:
    parts = {f"v{n}": {"kind": "vllm", "resources": {"gpu": 0, "gpus": 1, **resources}} for n in range(count)}
    return stack(parts, {"m": {"source": "hf:a/b", "memory": "16G", "context": 8192}})


@pytest.mark.parametrize(
    ("count", "memory", "goal", "share"),
    [
        (1, 24, "balanced", "0.75"),
        (1, 48, "balanced", "0.85"),
        (1, 80, "balanced", "0.90"),
        (1, 79.2, "balanced", "0.90"),
        (1, 24, "throughput", "0.90"),
        (1, 80, "latency", "0.70"),
        (1, 80, "memory", "0.60"),
        (3, 48, "balanced", "0.28"),
    ],
)
def test_share_of_a_card(count: int, memory: float, goal: Any, share: str) -> None:
    found = tune(vllm(count), replace(NVIDIA, cards=(card(memory),)), goal)
    shares = [one.value for one in found if one.name == "--gpu-memory-utilization"]
    assert shares == [share] * count
    assert sum(map(float, shares)) <= 0.9, "together never more than one server alone would get"


def test_the_goal_memory_shortens_the_context() -> None:
    assert values(vllm(), NVIDIA)["--max-model-len"] == "8192"
    assert values(vllm(), NVIDIA, goal="memory")["--max-model-len"] == "4096"


def test_cards_that_are_not_here_are_not_asked_for() -> None:
    made = vllm(gpus=4)
    assert (
        values(made, replace(NVIDIA, cards=tuple(card(48, n) for n in range(4))))["--tensor-parallel-size"]
        == "4"
    )
    two = tune(made, replace(NVIDIA, cards=tuple(card(48, n) for n in range(2))))
    [size] = [one for one in two if one.name == "--tensor-parallel-size"]
    assert size.value == "2"
    assert "only 2" in size.why


@pytest.mark.parametrize(("gib", "fits"), [(24, True), (12, False)])
def test_what_fits_on_no_setting_is_said(gib: float, fits: bool) -> None:
    hardware = replace(NVIDIA, cards=(card(gib),))
    assert (unfit(vllm(), hardware, tune(vllm(), hardware)) == ()) is fits


def test_every_setting_says_why() -> None:
    for made in (ollama(), vllm(2)):
        assert all(one.why for one in tune(made, NVIDIA))


@pytest.mark.parametrize(
    ("environment", "command", "given"),
    [
        ({"OLLAMA_NUM_PARALLEL": 4, "HF_TOKEN": None}, None, {"OLLAMA_NUM_PARALLEL": "4"}),
        (["A=b=c", "D"], [], {"A": "b=c", "D": ""}),
        ({}, "serve x --gpu-memory-utilization 0.9 --trust --max-model-len=10", {
            "--gpu-memory-utilization": "0.9", "--trust": "", "--max-model-len": "10"}),
        ({}, ["serve", "--dtype", "half"], {"--dtype": "half"}),
    ],
)  # fmt: skip
def test_settings_that_a_server_starts_with(environment: Any, command: Any, given: dict[str, str]) -> None:
    assert given_to(environment, command) == given


def test_a_plan_tells_settings_that_do_not_fit_and_no_others() -> None:
    settings = tune(vllm(), NVIDIA)
    fits = {one.name: one.value for one in settings}
    assert advice(settings, {"v0": fits}) == ()
    assert (
        advice(
            settings,
            {"v0": {**fits, "--gpu-memory-utilization": f"{float(fits['--gpu-memory-utilization'])}0"}},
        )
        == ()
    )
    [step] = advice(settings, {"v0": {**fits, "--gpu-memory-utilization": "0.99"}})
    assert (step.verb, step.subject) == ("check", "tuning/v0")
    assert step.detail.startswith(
        f"--gpu-memory-utilization is 0.99, and {fits['--gpu-memory-utilization']} fits: "
    )
    assert advice(settings, {"v0": {}}) == (), "what is not set is left to the server"
    assert advice(tune(ollama(), NVIDIA), {"ollama": {"num_ctx": "1"}}) == (), (
        "a model's parameter is not its server's"
    )
