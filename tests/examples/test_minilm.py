"""The model's numbers, held against those of others, and the hub cache that it is read from."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest

from tests.examples.model_server import MODEL, REPO, hub_cache, minilm


def test_vectors_are_those_that_others_publish_for_this_model(model: Any) -> None:
    """Numbers computed by PyTorch, from the documentation and the test suites of other projects."""
    vector = model.encode(["This is an example sentence"]).vectors[0]
    published = [0.06765693, 0.06349593, 0.04871314, 0.07930495, 0.03744806, 0.00265273]
    assert vector[:6] == pytest.approx(published, abs=1e-6)

    texts = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    vectors = model.encode(texts).vectors
    expected = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]
    assert vectors @ vectors.T == pytest.approx(np.array(expected), abs=6e-5)


def test_gelu_is_the_exact_one() -> None:
    x = np.linspace(-9, 9, 100_001, dtype=np.float32)
    exact = [0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x.astype(float)]
    assert np.abs(minilm.gelu(x.copy()) - exact).max() < 2e-6  # the tanh form is 5e-4 off


def test_a_batch_gives_what_each_text_gives_alone(model: Any) -> None:
    """So padding changes nothing, and rows that were sorted by length come back in their order."""
    texts = ["word " * count for count in (40, 1, 300, 7, 2)] + ["", "Ünïcödé 漢字 🙂"] * 10
    together = model.encode(texts)
    alone = [model.encode([text]) for text in texts]
    assert together.vectors == pytest.approx(np.vstack([a.vectors for a in alone]), abs=2e-6)
    assert together.tokens == sum(a.tokens for a in alone)
    assert np.linalg.norm(together.vectors, axis=1) == pytest.approx(1, abs=1e-6)


def test_a_text_counts_up_to_256_word_pieces(model: Any) -> None:
    at_limit, over = model.encode(["word " * 254]), model.encode(["word " * 253 + "word lion " * 200])
    assert at_limit.tokens == over.tokens == 256
    assert over.vectors == pytest.approx(at_limit.vectors, abs=1e-6)
    late = model.encode(["word " * 200 + "lion " * 54]).vectors[0]  # the tokenizer's own file cuts at 128
    assert late @ at_limit.vectors[0] < 0.99


def test_meaning_decides_and_not_words(model: Any) -> None:
    pairs = {
        "How do I restore a database from a backup?": "Bringing lost tables back after a disk failure",
        "The cat sleeps on the sofa.": "A kitten is napping on the couch.",
        "Our GPU has run out of memory.": "CUDA allocation failed: the card is full",
    }
    left, right = model.encode(list(pairs)).vectors, model.encode(list(pairs.values())).vectors
    similarity = left @ right.T
    assert similarity.argmax(axis=1).tolist() == [0, 1, 2]
    assert np.diag(similarity).min() > similarity[~np.eye(3, dtype=bool)].max() + 0.1


def test_the_hubs_own_library_reads_the_cache(cache: Path) -> None:
    seen = huggingface_hub.scan_cache_dir(cache)
    assert seen.warnings == []
    (repo,) = seen.repos
    (revision,) = repo.revisions
    assert (repo.repo_id, revision.refs) == (MODEL, {"main"})
    folder = huggingface_hub.snapshot_download(MODEL, cache_dir=cache, local_files_only=True)
    assert (Path(folder) / "1_Pooling" / "config.json").is_file()
    assert Path(folder).name == revision.commit_hash == minilm.snapshot_of(cache, MODEL)[1]


def test_every_blob_has_the_digest_that_it_is_named_by(cache: Path) -> None:
    blobs = list((cache / REPO / "blobs").iterdir())
    for blob in blobs:
        content = blob.read_bytes()
        git = hashlib.sha1(f"blob {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()
        assert blob.name == (hashlib.sha256(content).hexdigest() if len(blob.name) == 64 else git)
    assert [b.stat().st_size > 90_000_000 for b in blobs if len(b.name) == 64] == [True]


def test_filling_again_mends_what_a_crash_left_and_leaves_the_rest(cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    revision = hub_cache.fill_hub_cache(folder)
    repo = folder / REPO
    weights = next(b for b in (repo / "blobs").iterdir() if len(b.name) == 64)
    config = (repo / "snapshots" / revision / "config.json").resolve()
    untouched = weights.stat()
    # As after a crash in the middle: nothing points at the model, one blob is cut off, one is half written.
    (repo / "refs" / "main").unlink()
    (repo / "snapshots" / revision / "vocab.txt").unlink()
    config.write_bytes(config.read_bytes()[:100])
    config.with_name(config.name + ".incomplete").write_bytes(b"half")

    assert hub_cache.fill_hub_cache(folder) == revision
    assert weights.stat().st_ino == untouched.st_ino
    assert weights.stat().st_mtime_ns == untouched.st_mtime_ns
    assert tree(folder) == tree(cache)


def tree(folder: Path) -> dict[str, str]:
    """Every file's content, small enough to compare, and every link's target."""
    return {
        str(path.relative_to(folder)): f"-> {path.readlink()}"
        if path.is_symlink()
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def test_a_cache_without_the_model_is_refused(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        minilm.snapshot_of(tmp_path, MODEL)
    refs = tmp_path / REPO / "refs" / "main"
    refs.parent.mkdir(parents=True)
    refs.write_text("0" * 40)
    with pytest.raises(FileNotFoundError, match="fill it again"):
        minilm.snapshot_of(tmp_path, MODEL)
