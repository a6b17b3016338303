"""Could a restored model be loaded: each row spoils one thing of a model that could."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ops_pipelines.engines.model_files import inspect_models
from ops_pipelines.policy.manifest import Part

CACHE = Part("model_cache", "models", ())


def tensors(*names: str) -> bytes:
    """A safetensors file, in the form of https://huggingface.co/docs/safetensors/index#format."""
    header = {
        "__metadata__": {"format": "pt"},
        **{
            name: {"dtype": "F32", "shape": [2], "data_offsets": [8 * number, 8 * number + 8]}
            for number, name in enumerate(names)
        },
    }
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"\0" * 8 * len(names)


def hub(root: Path) -> Path:
    """A model of two shards in a hub cache, whose files are links to blobs."""
    home = root / "models--a--b"
    folder = home / "snapshots" / "abc"
    folder.mkdir(parents=True)
    files = {
        "config.json": json.dumps({"model_type": "llama", "vocab_size": 9}).encode(),
        "tokenizer.json": b"{}",
        "one.safetensors": tensors("a", "b"),
        "two.safetensors": tensors("c"),
        "model.safetensors.index.json": json.dumps(
            {"weight_map": {"a": "one.safetensors", "b": "one.safetensors", "c": "two.safetensors"}}
        ).encode(),
    }
    (home / "blobs").mkdir()
    for number, (name, content) in enumerate(files.items()):
        (home / "blobs" / str(number)).write_bytes(content)
        (folder / name).symlink_to(f"../../blobs/{number}")
    return folder


def ollama(root: Path) -> Path:
    """An Ollama store with one model."""
    contents = {"model": b"GGUF and weights", "params": b"{}"}
    (root / "blobs").mkdir()
    layers = []
    for number, (kind, content) in enumerate(contents.items()):
        (root / "blobs" / f"sha256-{number}").write_bytes(content)
        media = f"application/vnd.ollama.image.{kind}"
        layers.append({"mediaType": media, "digest": f"sha256:{number}", "size": len(content)})
    manifest = root / "manifests" / "registry.ollama.ai" / "library" / "m" / "latest"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"layers": layers, "config": layers[1]}))
    return manifest


def test_models_that_could_be_loaded(tmp_path: Path) -> None:
    hub(tmp_path)
    [finding] = inspect_models(CACHE, str(tmp_path))
    assert (finding.ok, finding.message) == (
        True,
        "5 model files could be read: shards, tokenizers, manifests",
    )


def test_an_ollama_store_that_could_be_served(tmp_path: Path) -> None:
    ollama(tmp_path)
    [finding] = inspect_models(CACHE, str(tmp_path))
    assert finding.ok


def test_nothing_is_said_of_other_parts_and_of_none(tmp_path: Path) -> None:
    hub(tmp_path)
    assert inspect_models(Part("volume", "v", ()), str(tmp_path)) == ()
    assert inspect_models(CACHE, str(tmp_path / "absent")) == ()
    assert inspect_models(CACHE, str(tmp_path / "models--a--b" / "blobs")) == ()


def rewrite(name: str, content: bytes) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / name).write_bytes(content)  # through the link, into the blob

    return spoil


INDEX = "model.safetensors.index.json"
HUGE = (1 << 40).to_bytes(8, "little")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "two.safetensors").unlink(), "names the shard two.safetensors, which is not there"),
        (lambda f: (f / "two.safetensors").resolve().unlink(), "leads to a file that is not there"),
        (rewrite("two.safetensors", tensors("other")), "names 1 tensors that two.safetensors does not hold (c)"),
        (rewrite("two.safetensors", tensors("c")[:-1]), "its tensors take 8 bytes, and the file has 7"),
        (rewrite("two.safetensors", tensors("c") + b"\0"), "its tensors take 8 bytes, and the file has 9"),
        (rewrite("two.safetensors", HUGE + b"{}"), "its header says 1099511627776 bytes"),
        (rewrite("two.safetensors", b""), "its header says 0 bytes"),
        (rewrite("two.safetensors", tensors("c").replace(b"{", b"[")), "is not whole"),
        (rewrite(INDEX, b'{"weight_map": {}}'), "it names no shard"),
        (rewrite(INDEX, b"[]"), "is not whole"),
        (rewrite(INDEX, b'{"weight_map": {"a": "../../x"}}'), "which is no file beside it"),
        (rewrite("tokenizer.json", b"{"), "tokenizer.json is not whole"),
        (rewrite("config.json", b"{"), "config.json is not whole"),
        (lambda f: (f / "tokenizer.json").unlink(), "config.json has no tokenizer beside it"),
    ],
)  # fmt: skip
def test_a_model_that_could_not(tmp_path: Path, spoil: Callable[[Path], None], said: str) -> None:
    spoil(hub(tmp_path))
    findings = inspect_models(CACHE, str(tmp_path))
    assert any(said in finding.message for finding in findings), findings
    assert {finding.ok for finding in findings} == {False}


def test_a_model_without_a_vocabulary_needs_no_tokenizer(tmp_path: Path) -> None:
    folder = hub(tmp_path)
    (folder / "tokenizer.json").unlink()
    (folder / "config.json").write_text("{}")
    assert [finding.ok for finding in inspect_models(CACHE, str(tmp_path))] == [True]


@pytest.mark.parametrize(
    ("blob", "content", "said"),
    [
        ("sha256-0", None, "names the blob sha256-0, which is not there"),
        ("sha256-0", b"GGUF", "names the blob sha256-0 with 16 bytes, and it has 4"),
        ("sha256-0", b"GGML and weights", "which are no GGUF file"),
    ],
)
def test_an_ollama_store_that_could_not(tmp_path: Path, blob: str, content: bytes | None, said: str) -> None:
    ollama(tmp_path)
    path = tmp_path / "blobs" / blob
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    [finding] = inspect_models(CACHE, str(tmp_path))
    assert finding.ok is False
    assert said in finding.message


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"layers": [{"digest": "../../x", "size": 1, "mediaType": ""}]}']
)
def test_a_manifest_that_is_none(tmp_path: Path, text: str) -> None:
    ollama(tmp_path).write_text(text)
    assert [finding.ok for finding in inspect_models(CACHE, str(tmp_path))] == [False]
