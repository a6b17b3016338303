"""What is asked before a deploy, and what is not asked offline."""

from __future__ import annotations

from typing import Any

import pytest

from ops_pipelines.errors import CacheDamaged, DeclarationError, PreflightFailed
from ops_pipelines.wiring import before_deploy, data, deployments
from tests.adapters.hub_wire import Hub, serving
from tests.adapters.test_embeddings import answering
from tests.wiring.stand import Stand


def test_a_secret_that_is_too_short_stops_a_deploy(stand: Stand) -> None:
    stand.environ["SALT"] = "short"
    stand.change(secrets={**stand.declared["secrets"], "salt": "${SALT}"}, secret_lengths={"salt": 32})
    with pytest.raises(PreflightFailed, match="fewer than 32 characters") as caught:
        deployments.deploy(stand.site, by="test")
    assert "short" not in str(caught.value)
    assert "openssl rand -hex 16" in str(caught.value)
    stand.environ["SALT"] = "x" * 32
    assert [one.ok for one in before_deploy.secret_lengths(stand.site)] == [True]
    with pytest.raises(DeclarationError, match="other"):
        stand.change(secret_lengths={"other": 32})


def test_a_hosted_model_is_asked_with_its_key_and_not_offline(stand: Stand) -> None:
    def answer(path: str, _body: Any) -> tuple[int, Any]:
        return (200, {"id": "x"}) if path == "/v1/models/embedder" else (404, {})

    with answering(answer) as (url, asked):
        stand.change(
            models={"far": {"source": "hosted:mine/embedder", "api": f"{url}/v1", "token": "key", "served_by": "web"}}
        )  # fmt: skip
        [found] = before_deploy.hosted_models(stand.site)
        assert found.ok is True
        assert [key for _, _, key in asked] == [f"Bearer {stand.environ['KEY']}"]
        asked.clear()
        stand.environ["OPS_OFFLINE"] = "1"
        [found] = before_deploy.hosted_models(stand.site)
        assert (found.ok, found.severity, asked) == (None, "info", [])


def test_a_hosted_model_that_refuses_the_key_stops_every_deploy(stand: Stand) -> None:
    with answering(lambda _path, _body: (401, {})) as (url, _):
        stand.change(
            models={"far": {"source": "hosted:mine/embedder", "api": f"{url}/v1", "token": "key", "served_by": "web"}}
        )  # fmt: skip
        with pytest.raises(PreflightFailed, match="model far"):
            deployments.deploy(stand.site, by="dagster")


def test_a_mirror_of_the_hub_or_nobody_at_all(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    stand.change(
        caches={"hub": {"layout": "huggingface", "path": str(stand.folder / "hub")}},
        models={"tiny": {"source": "hf:acme/tiny", "cache": "hub"}},
    )
    with serving(Hub({"config.json": b"{}", "model.safetensors": b"w" * 2000})) as hub:
        stand.environ["HF_ENDPOINT"] = hub.url + "/"
        assert [one.ok for one in data.probe_models(stand.site)] == [True]
        stand.environ["OPS_OFFLINE"] = "1"
        hub.asked.clear()
        [found] = data.probe_models(stand.site)
        assert (found.ok, "OPS_OFFLINE" in found.message) == (None, True)
        with pytest.raises(CacheDamaged, match="nothing is pulled offline") as caught:
            data.fill(stand.site)
        assert "restore --model" in caught.value.remedy
        assert hub.asked == []
        stand.environ["OPS_OFFLINE"] = "0"
        [inventory] = data.fill(stand.site)
        assert [model.name for model in inventory.models] == ["acme/tiny"]
