"""vLLM and its kin at the wire, by what vLLM documents: models, adapters, sleep mode, the share of a card."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from ops_pipelines.adapters.model_server import ModelServer
from ops_pipelines.errors import Refused, TargetUnsupported, Unreachable
from ops_pipelines.policy.serving import LoadedModel

# https://docs.vllm.ai/en/v0.10.0/features/lora.html, "the response ... now includes"
MODELS = {
    "object": "list",
    "data": [
        {"id": "meta-llama/Llama-3.2-3B-Instruct", "object": "model", "created": 1715644056, "owned_by": "vllm",
         "root": "meta-llama/Llama-3.2-3B-Instruct", "parent": None, "permission": []},
        {"id": "sql-lora", "object": "model", "created": 1715644056, "owned_by": "vllm",
         "root": "/models/sql-lora", "parent": "meta-llama/Llama-3.2-3B-Instruct", "permission": []},
    ],
}  # fmt: skip
# https://github.com/vllm-project/vllm/pull/3100
METRICS = """# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{block_size="16",cache_dtype="auto",gpu_memory_utilization="0.9",num_gpu_blocks="24188"} 1.0
"""
Answer = Callable[[httpx.Request], httpx.Response]


class Wire:
    """Answers as vLLM does; what was asked is in `asked`."""

    def __init__(self, *, asleep: bool | None = None, lora: bool = True, key: str = "") -> None:
        self.asleep, self.lora, self.key = asleep, lora, key
        self.asked: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path, words = request.url.path, json.loads(request.content or b"{}")
        self.asked.append(f"{request.method} {path}")
        if path == "/metrics":
            return httpx.Response(200, text=METRICS)
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            return httpx.Response(401, json={"error": "Unauthorized"})
        match path:
            case "/v1/models":
                return httpx.Response(200, json=MODELS)
            case "/is_sleeping" if self.asleep is not None:
                return httpx.Response(200, json={"is_sleeping": self.asleep})
            case "/sleep" | "/wake_up" if self.asleep is not None:
                self.asleep = path == "/sleep"
                return httpx.Response(200)
            case "/v1/load_lora_adapter" if self.lora:
                return self._load(words)
            case "/v1/unload_lora_adapter" if self.lora:
                return httpx.Response(200, text="Success: LoRA adapter 'sql-lora' removed successfully.")
        return httpx.Response(404, json={"detail": "Not Found"})

    def _load(self, words: dict[str, Any]) -> httpx.Response:
        if words["lora_name"] == "sql-lora":
            message = "The lora adapter 'sql-lora' has already been loaded."
            return httpx.Response(400, json={"object": "error", "message": message, "code": 400})
        if words["lora_path"] == "/nowhere":
            message = "Loading lora new failed: No adapter found for /nowhere; it does not exist"
            return httpx.Response(404, json={"object": "error", "message": message, "code": 404})
        return httpx.Response(200, text=f"Success: LoRA adapter '{words['lora_name']}' added successfully.")


def server(wire: Answer, key: str | None = None) -> ModelServer:
    return ModelServer("http://vllm:8000/v1", key, transport=httpx.MockTransport(wire))


def test_models_and_adapters() -> None:
    base = "meta-llama/Llama-3.2-3B-Instruct"
    assert server(Wire()).loaded() == (LoadedModel(base), LoadedModel("sql-lora", base=base))
    assert {one.asleep for one in server(Wire(asleep=True)).loaded()} == {True}
    assert {one.asleep for one in server(Wire(asleep=False)).loaded()} == {False}
    assert server(Wire()).asleep() is None


def test_share_of_a_card() -> None:
    assert server(Wire(key="k")).share() == 0.9, "metrics are not behind the key"
    assert server(lambda _: httpx.Response(200, text="a page")).share() is None
    assert server(lambda _: httpx.Response(200, text="up 1\n")).share() is None


def test_the_key_is_sent() -> None:
    assert server(Wire(key="k"), "k").loaded()
    with pytest.raises(Refused, match="401"):
        server(Wire(key="k")).loaded()


def test_sleep_and_wake() -> None:
    wire = Wire(asleep=False)
    one = server(wire)
    one.sleep()
    assert one.asleep() is True
    one.wake()
    assert one.asleep() is False
    with pytest.raises(TargetUnsupported, match="has no /sleep") as error:
        server(Wire()).sleep()
    assert "VLLM_SERVER_DEV_MODE" in error.value.remedy


def test_adapters() -> None:
    one = server(Wire())
    one.load_adapter("new", "/models/new")
    one.load_adapter("sql-lora", "/models/sql-lora")
    one.unload_adapter("sql-lora")
    with pytest.raises(Refused, match="No adapter found"):
        one.load_adapter("new", "/nowhere")
    with pytest.raises(TargetUnsupported) as error:
        server(Wire(lora=False)).load_adapter("new", "/models/new")
    assert "--enable-lora" in error.value.remedy


def test_what_is_no_model_server() -> None:
    with pytest.raises(Refused, match="does not list models"):
        server(lambda _: httpx.Response(200, text="<html>")).loaded()

    def gone(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(Unreachable):
        server(gone).loaded()
