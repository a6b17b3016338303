"""Questions whose answers are kept at backup, and asked again of what was restored."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ops_pipelines.engines.ports import Embedder, VectorStore
from ops_pipelines.errors import SchemaMismatch
from ops_pipelines.policy.manifest import Question
from ops_pipelines.policy.vectors import CollectionSchema

NEAREST = 10
"""Keys kept for each question."""
COUNT = 20
"""Questions made of a collection's own texts, where none are declared."""
_LONGEST = 200
_SENTENCE = re.compile(r"(?<=[.!?。！？])\s|\n\s*\n")

Key = str | int


def text_field(schema: CollectionSchema) -> str | None:
    """The field that holds a row's text: `text`, else the longest varchar that is no key, else None."""
    texts = [field for field in schema.fields if field.type == "varchar" and not field.primary]
    named = next((field.name for field in texts if field.name == "text"), None)
    longest = max(texts, key=lambda field: field.max_length or 0, default=None)
    return named or (longest.name if longest else None)


def vector_field(schema: CollectionSchema) -> str | None:
    """The field that an embedding model fills: the first float vector, or None."""
    return next((field.name for field in schema.vectors if field.type == "float_vector"), None)


def pick_questions(
    declared: Sequence[str], rows: Iterable[Mapping[str, Any]], field: str | None, *, count: int = COUNT
) -> tuple[str, ...]:
    """The declared texts, or else the first sentences of some rows, the same ones for the same rows."""
    if declared:
        return tuple(declared)
    if field is None:
        return ()
    sentences = {_first_sentence(str(row.get(field) or "")) for row in rows}
    chosen = sorted(sentences - {""}, key=lambda text: hashlib.sha256(text.encode()).digest())
    return tuple(chosen[:count])


def _first_sentence(text: str) -> str:
    words = " ".join(_SENTENCE.split(text.strip(), maxsplit=1)[0].split())
    return words if len(words) <= _LONGEST else words[:_LONGEST].rsplit(" ", 1)[0]


def ask(
    embedder: Embedder,
    model: str,
    store: VectorStore,
    name: str,
    texts: Sequence[str],
    field: str | None = None,
    *,
    limit: int = NEAREST,
) -> tuple[tuple[Key, ...], ...]:
    """Keys of the nearest rows for each text, nearest first. `model` is the name that the server knows.

    Without `field` the collection's first float vector is searched. Raises SchemaMismatch where the model's
    vectors do not fit the field, Unreachable or Refused where a server does not answer.
    """
    if not texts:
        return ()
    state = store.state(name)
    if state is None:
        raise SchemaMismatch(
            f"there is no collection {name} to ask",
            remedy="deploy the stack, which creates its collections",
        )
    searched = next(
        (f for f in state.schema.vectors if f.name == (field or vector_field(state.schema))), None
    )
    if searched is None:
        raise SchemaMismatch(
            f"{name} has no vector field {field or 'of floats'} to ask",
            remedy="declare a `float_vector` field, or no `embedding` for this collection",
        )
    vectors = embedder.embed(model, texts)
    if any(len(vector) != searched.dimension for vector in vectors):
        raise SchemaMismatch(
            f"{model} gives vectors of {len(vectors[0])} numbers; {searched.name} of {name} holds "
            f"{searched.dimension}",
            remedy="set `embedding` to the model that filled the collection",
        )
    if not state.loaded:
        store.load(state.name)
    answers = store.search(state.name, vectors, field=searched.name, limit=limit)
    return tuple(tuple(key for key, _ in answer) for answer in answers)


def keep_answers(
    collection: str, model: str, texts: Sequence[str], answers: Sequence[Sequence[Key]]
) -> tuple[Question, ...]:
    """Questions as a manifest keeps them. `model` is the model's name in the declaration."""
    return tuple(
        Question(collection, model, text, tuple(answer)) for text, answer in zip(texts, answers, strict=True)
    )
