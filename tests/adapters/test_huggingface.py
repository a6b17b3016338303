"""The hub: real downloads by the real library from a hub at the wire, and its refusals in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ops_pipelines.adapters.cachefiles import scan
from ops_pipelines.adapters.huggingface import HuggingFace
from ops_pipelines.engines.ports import silent
from ops_pipelines.errors import Refused, Unreachable
from ops_pipelines.policy.cache_diff import differences, verify
from ops_pipelines.policy.models import WantedModel
from ops_pipelines.policy.plan import failed
from tests.adapters.hub_wire import Hub, serving
from tests.caches import COMMIT
from tests.waiting import free_port

WEIGHTS = b"weights " * 50_000
FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS, "1_Pooling/config.json": b'{"pool": 1}'}
TINY = WantedModel("embed", "acme/tiny", "hf", "acme/tiny")
SECRET = "hf_made_up_for_tests"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving(Hub(FILES)) as running:
        yield running


def client(hub: Hub, token: str | None = None) -> HuggingFace:
    return HuggingFace(lambda model: token, endpoint=hub.url)


def test_a_repository_becomes_a_whole_hub_cache(hub: Hub, tmp_path: Path) -> None:
    said: list[tuple[int, int | None]] = []
    revision = client(hub).fetch(
        TINY, tmp_path / "hub", "huggingface", lambda step, done, total, unit: said.append((done, total))
    )
    assert revision == COMMIT
    inventory = scan(tmp_path / "hub", "huggingface")
    assert [line.state for line in differences([TINY], inventory)] == ["present"]
    assert failed(verify(inventory)) == []
    assert inventory.models[0].tags == ("main",)
    promised = [file for file in inventory.files if file.expected]
    assert sorted(len(file.expected or "") for file in promised) == [40, 40, 64]
    assert max(said) == (sum(map(len, FILES.values())),) * 2


def test_a_repository_in_a_plain_directory(hub: Hub, tmp_path: Path) -> None:
    assert client(hub).fetch(TINY, tmp_path, "directory", silent) == COMMIT
    inventory = scan(tmp_path, "directory")
    assert [(model.name, model.complete) for model in inventory.models] == [("acme--tiny", True)]
    assert set(inventory.models[0].files) == {f"acme--tiny/{name}" for name in FILES}


def test_a_download_that_breaks_off_is_no_model_and_the_next_one_ends_it(hub: Hub, tmp_path: Path) -> None:
    hub.cut = "model.safetensors"
    with pytest.raises(Unreachable):
        client(hub).fetch(TINY, tmp_path, "huggingface", silent)
    assert [line.state for line in differences([TINY], scan(tmp_path, "huggingface"))] == ["partial"]
    hub.cut = None
    client(hub).fetch(TINY, tmp_path, "huggingface", silent)
    assert [line.state for line in differences([TINY], scan(tmp_path, "huggingface"))] == ["present"]


def test_a_pinned_commit_is_asked_for(hub: Hub, tmp_path: Path) -> None:
    pinned = replace(TINY, pin=COMMIT)
    assert client(hub).fetch(pinned, tmp_path, "huggingface", silent) == COMMIT
    assert all("main" not in line for line in hub.asked)
    inventory = scan(tmp_path, "huggingface")
    assert inventory.models[0].tags == ("main",), (
        "a server that loads by name and offline finds the pinned commit"
    )
    assert [line.state for line in differences([pinned], scan(tmp_path, "huggingface"))] == ["present"]
    with pytest.raises(Refused, match="no revision"):
        client(hub).fetch(replace(TINY, pin="c" * 40), tmp_path, "huggingface", silent)


def test_a_branch_that_is_not_there(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="acme/tiny has no revision v9"):
        client(hub).fetch(replace(TINY, revision="v9"), tmp_path, "huggingface", silent)


@pytest.mark.parametrize("token", [None, "hf_of_somebody_else"])
def test_a_gated_model_names_model_licence_and_setting_and_never_the_token(
    hub: Hub, tmp_path: Path, token: str | None
) -> None:
    hub.gated, hub.token = True, SECRET
    with pytest.raises(Refused) as error:
        client(hub, token).fetch(replace(TINY, gated=True, token="hub"), tmp_path, "huggingface", silent)
    said = str(error.value)
    assert "model acme/tiny is gated" in said
    assert f"accept its licence at {hub.url}/acme/tiny" in said
    assert "models.embed.token" in said
    assert token is None or token not in said
    finding = client(hub, token).probe(TINY)
    assert finding.ok is False
    assert "gated" in finding.message


def test_the_declared_token_opens_a_gated_model(hub: Hub, tmp_path: Path) -> None:
    hub.gated, hub.token = True, SECRET
    assert client(hub, SECRET).fetch(TINY, tmp_path, "huggingface", silent) == COMMIT
    assert client(hub, SECRET).probe(TINY).ok


def test_no_token_of_the_machine_is_used(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    hub.gated, hub.token = True, SECRET
    with pytest.raises(Refused, match="gated"):
        client(hub).fetch(TINY, tmp_path, "huggingface", silent)


def test_a_model_that_is_not_there(hub: Hub, tmp_path: Path) -> None:
    nobody = replace(TINY, name="acme/nobody", reference="acme/nobody")
    with pytest.raises(Refused, match="no model acme/nobody"):
        client(hub).fetch(nobody, tmp_path, "huggingface", silent)
    assert client(hub).probe(nobody).ok is False


@pytest.mark.parametrize("reference", ["no//thing", "a/b/c", "-x"])
def test_a_name_that_is_none(hub: Hub, tmp_path: Path, reference: str) -> None:
    bad = replace(TINY, reference=reference)
    with pytest.raises(Refused):
        client(hub).fetch(bad, tmp_path, "huggingface", silent)
    assert client(hub).probe(bad).ok is False
    assert hub.asked == []


def test_probe_moves_no_content(hub: Hub) -> None:
    assert client(hub).probe(TINY).ok
    assert [line for line in hub.asked if line.startswith("GET") and "/resolve/" in line] == []


def test_a_branch_that_moved_at_the_hub_is_said(hub: Hub, tmp_path: Path) -> None:
    client(hub).fetch(TINY, tmp_path, "huggingface", silent)
    [held] = scan(tmp_path, "huggingface").models
    assert client(hub).at_source(TINY, held).ok
    earlier = replace(held, revision="b" * 40)
    moved = client(hub).at_source(TINY, earlier)
    assert (moved.ok, moved.severity) == (False, "warning")
    pinned = client(hub).at_source(replace(TINY, pin="b" * 40), earlier)
    assert (pinned.ok, pinned.severity) == (False, "info"), "a commit can be had for ever"
    assert "has moved at its source" in moved.message
    away = HuggingFace(endpoint=f"http://127.0.0.1:{free_port()}").at_source(TINY, held)
    assert away.ok is None


def test_without_a_network_nothing_is_known(tmp_path: Path) -> None:
    away = HuggingFace(endpoint=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Unreachable):
        away.fetch(TINY, tmp_path, "huggingface", silent)
    finding = away.probe(TINY)
    assert (finding.ok, finding.severity) == (None, "warning")


def test_a_hub_that_is_broken_is_not_a_model_that_is_missing(hub: Hub) -> None:
    hub.status = 500
    assert client(hub).probe(TINY).ok is None


def test_a_layout_that_holds_no_repository(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="layout ollama"):
        client(hub).fetch(TINY, tmp_path, "ollama", silent)
