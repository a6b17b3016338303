"""Wanted against present, replica against replica: each row flips one fact."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ops_pipelines.policy.cache_diff import differences, divergence, findings, verify
from ops_pipelines.policy.models import CacheFile, CacheModel, Inventory, WantedModel
from ops_pipelines.policy.plan import Finding, failed

A, B = "a" * 64, "b" * 64
ONE, TWO = "1" * 40, "2" * 40
LLAMA = WantedModel("chat", "llama3:8b", "ollama", "llama3:8b")
TINY = WantedModel("embed", "acme/tiny", "hf", "acme/tiny")


def held(
    *models: CacheModel, files: tuple[CacheFile, ...] = (), layout: str = "ollama", **words: object
) -> Inventory:
    return Inventory("c", 0, layout, "/models", files, models, **words)  # type: ignore[arg-type]


def llama(revision: str = A, **words: object) -> CacheModel:
    return CacheModel("llama3:8b", revision, ("f",), 7, **words)  # type: ignore[arg-type]


def tiny(revision: str, *tags: str) -> CacheModel:
    return CacheModel("acme/tiny", revision, (revision,), 7, tags=tags)


@pytest.mark.parametrize(
    ("wanted", "inventory", "state", "word"),
    [
        (LLAMA, held(llama()), "present", A[:12]),
        (LLAMA, held(), "missing", ""),
        (LLAMA, held(partial=("blobs/x-partial",)), "missing", "1 unfinished"),
        (LLAMA, held(exists=False), "missing", "/models is not there"),
        (LLAMA, held(llama(complete=False, missing=("blobs/x",))), "partial", "blobs/x"),
        (LLAMA, held(llama(), files=(CacheFile("f", 1, A, expected=A),)), "present", ""),
        (LLAMA, held(llama(), files=(CacheFile("f", 1, A, expected=B),)), "corrupt", "SHA-256"),
        (LLAMA, held(llama(), files=(CacheFile("f", 1, A, fault="cut off"),)), "corrupt", "cut off"),
        (LLAMA, held(llama(), files=(CacheFile("g", 1, A, expected=B),)), "present", ""),
        (replace(LLAMA, pin=A), held(llama()), "present", ""),
        (replace(LLAMA, pin=A[:12]), held(llama()), "present", ""),
        (replace(LLAMA, pin=f"sha256:{A}"), held(llama()), "present", ""),
        (replace(LLAMA, pin=A[:11]), held(llama()), "moved", ""),
        (replace(LLAMA, pin=B), held(llama()), "moved", f"pinned {B[:12]}, found {A[:12]}"),
        (TINY, held(tiny(ONE, "main")), "present", ONE[:12]),
        (TINY, held(tiny(ONE, "v1")), "missing", "revision main is not there"),
        (replace(TINY, revision="v1"), held(tiny(ONE, "v1")), "present", ""),
        (replace(TINY, revision=TWO), held(tiny(ONE, "main"), tiny(TWO)), "present", TWO[:12]),
        (replace(TINY, revision=TWO), held(tiny(ONE, "main")), "missing", ""),
        (replace(TINY, pin=ONE), held(tiny(ONE, "main")), "present", ""),
        (replace(TINY, pin=ONE), held(tiny(TWO, "main"), tiny(ONE)), "moved", "is in the cache too"),
        (replace(TINY, pin=ONE), held(tiny(TWO, "main")), "moved", f"found {TWO[:12]}"),
        (replace(TINY, pin=ONE), held(tiny(ONE)), "present", ""),
        (replace(TINY, pin=ONE), held(tiny(ONE, "v1")), "present", ""),
    ],
)
def test_one_wanted_model(wanted: WantedModel, inventory: Inventory, state: str, word: str) -> None:
    line = differences([wanted], inventory)[0]
    assert line.state == state
    assert word in line.detail
    assert line.wanted is wanted


def test_a_lone_model_of_a_whole_directory_is_the_wanted_one() -> None:
    inventory = held(CacheModel(".", A, (), 1), layout="directory")
    assert [line.state for line in differences([replace(TINY, name="acme--tiny")], inventory)] == ["present"]


def test_what_nothing_asks_for_is_said_and_no_fault() -> None:
    inventory = held(llama(), CacheModel("other:1", B, (), 9))
    lines = differences([LLAMA], inventory)
    assert [(line.model, line.state) for line in lines] == [("llama3:8b", "present"), ("other:1", "extra")]
    assert failed(findings(inventory, lines)) == []


def test_an_older_revision_is_extra() -> None:
    lines = differences([TINY], held(tiny(ONE, "main"), tiny(TWO)))
    assert [(line.state, "another revision" in line.detail) for line in lines] == [
        ("present", False),
        ("extra", True),
    ]


def test_each_bad_state_has_a_remedy() -> None:
    inventory = held(llama(complete=False, missing=("x",)))
    [finding] = findings(inventory, differences([LLAMA], inventory))
    assert (finding.ok, finding.severity) == (False, "error")
    assert "not there: x" in finding.message
    assert finding.remedy


@pytest.mark.parametrize(
    ("second", "bad"),
    [
        (held(llama()), []),
        (held(llama(B)), ["differ in llama3:8b"]),
        (held(), ["replica 1 has nothing"]),
        (held(llama(), CacheModel("x:1", A, (), 1)), ["differ in x:1"]),
        (held(llama(complete=False)), ["in part"]),
        (held(exists=False), ["is not there"]),
    ],
)
def test_replicas(second: Inventory, bad: list[str]) -> None:
    results = failed(divergence([held(llama()), replace(second, replica=1)]))
    assert len(results) == len(bad)
    assert all(word in result.message for word, result in zip(bad, results, strict=True))


def test_one_replica_does_not_differ() -> None:
    assert divergence([held(llama())]) == ()


def test_verify_counts_what_it_could_check() -> None:
    inventory = held(llama(), files=(CacheFile("f", 1, A, expected=A), CacheFile("n", 1, B)))
    [finding] = verify(inventory)
    assert finding.ok
    assert "1 of 2 files" in finding.message


@pytest.mark.parametrize(
    ("inventory", "ok", "severity", "word"),
    [
        (held(llama(), files=(CacheFile("f", 1, B, expected=A),)), False, "error", "of llama3:8b is corrupt"),
        (held(files=(CacheFile("f", 1, B, expected=A),)), False, "warning", "no model uses it"),
        (held(files=(CacheFile("f", 1, B, expected=ONE, git=TWO),)), False, "warning", "git blob id"),
        (held(problems=(Finding("x", None, "cannot be read"),)), None, "error", "cannot be read"),
        (held(exists=False), False, "error", "is not there"),
    ],
)
def test_verify(inventory: Inventory, ok: bool | None, severity: str, word: str) -> None:
    [finding] = verify(inventory)
    assert (finding.ok, finding.severity) == (ok, severity)
    assert word in finding.message
