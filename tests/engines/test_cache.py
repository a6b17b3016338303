"""Filling a cache: what is missing is pulled, and one that cannot be had keeps no other from it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from ops_pipelines.engines.cache import fill, plan_fill, probe
from ops_pipelines.engines.ports import Progress, silent
from ops_pipelines.errors import OpsError, Refused, SecretMissing, Unreachable
from ops_pipelines.policy.models import WantedModel
from ops_pipelines.policy.plan import Finding, failed
from tests.caches import inventories, ollama_model, sha256

CHAT = WantedModel("chat", "llama3:8b", "ollama", "llama3:8b")
SMALL = WantedModel("small", "phi3:mini", "ollama", "phi3:mini")


@dataclass
class Library:
    """A source that writes models into a store, as the ollama server does."""

    models: dict[str, list[bytes]]
    errors: dict[str, OpsError] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def fetch(self, model: WantedModel, root: Path, layout: str, progress: Progress) -> str:  # noqa: ARG002
        self.asked.append(model.reference)
        if error := self.errors.get(model.reference):
            raise error
        return ollama_model(root, model.name, self.models[model.reference])

    def probe(self, model: WantedModel) -> Finding:
        return Finding(f"model {model.name}", model.reference in self.models, "asked")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def library() -> Library:
    return Library({"llama3:8b": [b"weights"], "phi3:mini": [b"small"]})


def test_what_is_missing_is_pulled_and_nothing_twice(root: Path, library: Library) -> None:
    take = inventories("ollama", [root])
    assert [step.verb for step in plan_fill([CHAT, SMALL], take(0, silent))] == ["fetch", "fetch"]
    result = fill([CHAT, SMALL], take, {"ollama": library})
    assert result.pulled == ("llama3:8b", "phi3:mini")
    assert failed(result.findings) == []
    again = fill([CHAT, SMALL], take, {"ollama": library})
    assert again.pulled == ()
    assert library.asked == ["llama3:8b", "phi3:mini"]
    assert [step.verb for step in plan_fill([CHAT, SMALL], again.inventory)] == ["keep", "keep"]


@pytest.mark.parametrize("error", [Refused("gated", remedy="accept"), Unreachable("away", remedy="check")])
def test_one_that_cannot_be_had_keeps_no_other_from_it(root: Path, library: Library, error: OpsError) -> None:
    library.errors["llama3:8b"] = error
    result = fill([CHAT, SMALL], inventories("ollama", [root]), {"ollama": library})
    assert result.pulled == ("phi3:mini",)
    [bad] = failed(result.findings)
    assert (bad.message, bad.remedy) == (error.message, error.remedy)


def test_a_scheme_without_a_source(root: Path) -> None:
    result = fill([CHAT], inventories("ollama", [root]), {})
    assert "nothing here can pull" in failed(result.findings)[0].message
    assert failed(list(probe([CHAT], {})))


def test_a_moved_tag_is_reported_and_left(root: Path, library: Library) -> None:
    ollama_model(root, "llama3:8b", [b"another"])
    result = fill([replace(CHAT, pin="f" * 64)], inventories("ollama", [root]), {"ollama": library})
    assert library.asked == []
    assert "moved" in failed(result.findings)[0].message


def test_what_is_in_part_is_pulled(root: Path, library: Library) -> None:
    ollama_model(root, "llama3:8b", [b"weights"])
    (root / "blobs" / f"sha256-{sha256(b'weights')}").unlink()
    assert fill([CHAT], inventories("ollama", [root]), {"ollama": library}).pulled == ("llama3:8b",)


def test_what_is_corrupt_is_pulled_only_when_asked_and_kept_aside(root: Path, library: Library) -> None:
    take = inventories("ollama", [root])
    fill([CHAT], take, {"ollama": library})
    blob = root / "blobs" / f"sha256-{sha256(b'weights')}"
    blob.write_bytes(b"rotten!")
    left = fill([CHAT], take, {"ollama": library})
    assert left.pulled == ()
    assert "corrupt" in failed(left.findings)[0].message
    assert blob.read_bytes() == b"rotten!"
    repaired = fill([CHAT], take, {"ollama": library}, repair=True)
    assert repaired.pulled == ("llama3:8b",)
    assert failed(repaired.findings) == []
    assert (root.with_name("models.corrupt") / "blobs" / blob.name).read_bytes() == b"rotten!"


def test_a_pull_that_brings_nothing_is_not_believed(root: Path, library: Library) -> None:
    class Liar(Library):
        def fetch(self, *_: object) -> str:
            return "f" * 64

    result = fill([CHAT], inventories("ollama", [root]), {"ollama": Liar({})})
    assert result.pulled == ()
    assert "missing" in failed(result.findings)[0].message


def test_probe_asks_each_source(library: Library) -> None:
    nowhere = replace(CHAT, reference="llama3:13b")
    assert [finding.ok for finding in probe([CHAT, nowhere], {"ollama": library})] == [True, False]


def test_a_probe_that_lacks_a_token_is_a_finding_and_stops_no_other(library: Library) -> None:
    class Gated(Library):
        def probe(self, model: WantedModel) -> Finding:
            if model.reference == CHAT.reference:
                raise SecretMissing("environment variable HF_TOKEN is not set", remedy="set HF_TOKEN")
            return super().probe(model)

    gated, other = probe([CHAT, SMALL], {"ollama": Gated(library.models)})
    assert (gated.ok, gated.message) == (False, "environment variable HF_TOKEN is not set")
    assert gated.remedy == "set HF_TOKEN"
    assert other.ok is True


def test_each_replica_is_filled_by_itself(tmp_path: Path, library: Library) -> None:
    roots = [tmp_path / "0", tmp_path / "1"]
    take = inventories("ollama", roots)
    fill([CHAT], take, {"ollama": library}, replica=1)
    assert not roots[0].exists()
    assert [model.name for model in take(1, silent).models] == ["llama3:8b"]
