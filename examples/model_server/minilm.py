"""all-MiniLM-L6-v2 (and any BERT of its shape) computed with numpy alone, offline, from a hub cache.

The model is six encoder layers over word pieces, the mean of the last layer over the real tokens, and
an L2 norm. Nothing here is approximated: GELU is the one with the error function that the model was
trained with, and a padded token takes no part in attention or in the mean.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from tokenizers import Tokenizer

Array = NDArray[np.float32]

# Padded tokens in one pass: enough for the matrix products to run at full speed, little enough that the
# attention scores of the longest texts stay under 15 MB.
BATCH_TOKENS = 1024
GELU_CHUNK = 1 << 15  # numbers whose temporaries stay in the core's cache

# The error function as x * P(x²) / Q(x²) on [-4, 4], highest power first: right to float32 rounding.
ERF_P = (-2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05,
         -7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02)  # fmt: skip
ERF_Q = (-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03,
         -1.42647390514189e-02)  # fmt: skip


class Encoded(NamedTuple):
    """What one call computed: unit vectors, one row a text in the order given, and the tokens read."""

    vectors: Array
    tokens: int


class Dense(NamedTuple):
    """y = x @ weight + bias, the weight already transposed to (inputs, outputs)."""

    weight: Array
    bias: Array

    def __call__(self, x: Array) -> Array:
        # Flattened, as numpy multiplies a stack matrix by matrix, which is four times slower on short texts.
        y: Array = x.reshape(-1, x.shape[-1]) @ self.weight
        y += self.bias
        shaped: Array = y.reshape(*x.shape[:-1], -1)
        return shaped


class Norm(NamedTuple):
    """Layer normalisation over the last axis."""

    weight: Array
    bias: Array
    epsilon: float

    def __call__(self, x: Array) -> Array:
        centred: Array = x - x.mean(axis=-1, keepdims=True)
        variance = np.mean(centred * centred, axis=-1, keepdims=True)
        centred /= np.sqrt(variance + np.float32(self.epsilon))
        centred *= self.weight
        centred += self.bias
        return centred


@dataclass(frozen=True)
class Layer:
    """One encoder layer. `qkv` is query, key and value side by side: one product instead of three."""

    qkv: Dense
    attended: Dense
    attended_norm: Norm
    up: Dense
    down: Dense
    norm: Norm


def snapshot_of(cache: Path, model: str) -> tuple[Path, str]:
    """Folder and revision of `model` in a Hugging Face hub cache; FileNotFoundError when it is not there."""
    repo = cache / f"models--{model.replace('/', '--')}"
    revision = (repo / "refs" / "main").read_text().strip()
    snapshot = repo / "snapshots" / revision
    if not snapshot.is_dir():
        raise FileNotFoundError(f"{repo.name}: no snapshot {revision}, which refs/main names; fill it again")
    return snapshot, revision


class MiniLM:
    """The model, loaded from one snapshot folder. Safe to share between threads: encoding changes nothing."""

    def __init__(self, folder: Path) -> None:
        """Read config, weights and tokenizer. OSError: a file is missing. ValueError: another kind of model."""
        config = _checked(json.loads((folder / "config.json").read_text()))
        self.heads: int = config["num_attention_heads"]
        self.max_tokens = _max_tokens(folder, config)
        self._epsilon: float = config["layer_norm_eps"]
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        # The file carries its training settings: cut at 128 and always pad to 128.
        self._tokenizer.enable_truncation(self.max_tokens)
        self._tokenizer.no_padding()
        with safe_open(folder / "model.safetensors", "numpy") as weights:
            self._words: Array = weights.get_tensor("embeddings.word_embeddings.weight")
            positions: Array = weights.get_tensor("embeddings.position_embeddings.weight")
            kinds: Array = weights.get_tensor("embeddings.token_type_embeddings.weight")
            self._places: Array = positions + kinds[0]  # one text a sequence: every token is of kind 0
            self._norm = self._read_norm(weights, "embeddings.LayerNorm")
            count: int = config["num_hidden_layers"]
            self._layers = [self._read_layer(weights, f"encoder.layer.{i}") for i in range(count)]
        self.dimensions = self._words.shape[1]

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Unit vectors (texts, dimensions). A text over `max_tokens` word pieces counts up to there."""
        ids: list[list[int]] = [e.ids for e in self._tokenizer.encode_batch(list(texts))]
        vectors = np.empty((len(ids), self.dimensions), dtype=np.float32)
        for rows in _batches([len(i) for i in ids]):
            vectors[rows] = self._forward([ids[row] for row in rows])
        return Encoded(vectors, sum(map(len, ids)))

    def _forward(self, ids: list[list[int]]) -> Array:
        longest = max(map(len, ids))
        tokens = np.zeros((len(ids), longest), dtype=np.int64)
        mask = np.zeros((len(ids), longest), dtype=np.float32)
        for row, text in enumerate(ids):
            tokens[row, : len(text)] = text
            mask[row, : len(text)] = 1
        x = self._norm(self._words[tokens] + self._places[:longest])
        # Minus infinity makes a padded token's weight exactly 0; every text has two real tokens at least.
        hidden = np.where(mask > 0, np.float32(0), np.float32(-np.inf))[:, None, None, :]
        for layer in self._layers:
            x = layer.attended_norm(x + layer.attended(self._attend(layer.qkv(x), hidden)))
            x = layer.norm(x + layer.down(gelu(layer.up(x))))
        mean = np.einsum("blh,bl->bh", x, mask) / mask.sum(axis=1, keepdims=True)
        unit: Array = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        return unit

    def _attend(self, qkv: Array, hidden: Array) -> Array:
        batch, length, width = qkv.shape
        size = width // 3 // self.heads
        query, key, value = qkv.reshape(batch, length, 3, self.heads, size).transpose(2, 0, 3, 1, 4)
        scores = (query * np.float32(size**-0.5)) @ key.swapaxes(-1, -2)
        scores += hidden
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=-1, keepdims=True)
        mixed: Array = (scores @ value).transpose(0, 2, 1, 3).reshape(batch, length, width // 3)
        return mixed

    def _read_layer(self, weights: Any, at: str) -> Layer:
        parts = [_read_dense(weights, f"{at}.attention.self.{name}") for name in ("query", "key", "value")]
        qkv = Dense(np.hstack([p.weight for p in parts]), np.hstack([p.bias for p in parts]))
        return Layer(
            qkv,
            _read_dense(weights, f"{at}.attention.output.dense"),
            self._read_norm(weights, f"{at}.attention.output.LayerNorm"),
            _read_dense(weights, f"{at}.intermediate.dense"),
            _read_dense(weights, f"{at}.output.dense"),
            self._read_norm(weights, f"{at}.output.LayerNorm"),
        )

    def _read_norm(self, weights: Any, at: str) -> Norm:
        return Norm(weights.get_tensor(f"{at}.weight"), weights.get_tensor(f"{at}.bias"), self._epsilon)


def gelu(x: Array) -> Array:
    """x * Φ(x), Φ the normal distribution, written over a contiguous `x`, which is returned."""
    flat = x.reshape(-1)
    for start in range(0, flat.size, GELU_CHUNK):
        part = flat[start : start + GELU_CHUNK]
        z = np.clip(part * np.float32(0.5**0.5), -4, 4)
        square = z * z
        z *= _polynomial(ERF_P, square)
        z /= _polynomial(ERF_Q, square)
        z += 1
        part *= np.float32(0.5)
        part *= z
    return x


def _polynomial(coefficients: Sequence[float], x: Array) -> Array:
    total = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        total *= x
        total += np.float32(coefficient)
    return total


def _read_dense(weights: Any, at: str) -> Dense:
    weight = np.ascontiguousarray(weights.get_tensor(f"{at}.weight").T)
    return Dense(weight, weights.get_tensor(f"{at}.bias"))


def _checked(config: dict[str, Any]) -> dict[str, Any]:
    computed = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
    for key, wanted in computed.items():
        if config.get(key, wanted) != wanted:
            raise ValueError(f"config.json: {key} is {config[key]!r}; only {wanted!r} is computed here")
    return config


def _max_tokens(folder: Path, config: dict[str, Any]) -> int:
    """What the model was trained to read, which is less than it has positions for."""
    trained = folder / "sentence_bert_config.json"
    limit: int = config["max_position_embeddings"]
    return min(limit, json.loads(trained.read_text())["max_seq_length"]) if trained.exists() else limit


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Rows to compute together: of like length, so that little is padded, within BATCH_TOKENS."""
    rows: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if rows and (len(rows) + 1) * lengths[row] > BATCH_TOKENS:
            yield rows
            rows = []
        rows.append(row)
    if rows:
        yield rows
