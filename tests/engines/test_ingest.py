"""A folder of texts as rows, and questions about it: a real model, a real Milvus Lite."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from ops_pipelines.adapters.embeddings import OpenAIEmbeddings
from ops_pipelines.adapters.milvus import MilvusStore
from ops_pipelines.engines.collections import ensure
from ops_pipelines.engines.corpus import read_corpus
from ops_pipelines.engines.ingest import Ingested, ingest
from ops_pipelines.engines.parts.collection import CollectionSource, CollectionTarget
from ops_pipelines.engines.ports import silent
from ops_pipelines.engines.questions import ask, keep_answers, pick_questions, text_field
from ops_pipelines.errors import SchemaMismatch, Unreachable, UsageError
from ops_pipelines.policy.recall import recall
from ops_pipelines.policy.schema_drift import wanted
from ops_pipelines.stack.data import Collection
from tests.engines.test_part_collection import fetch_from, part_of
from tests.examples.model_server import MODEL
from tests.waiting import free_port

DECLARED: dict[str, Any] = {
    "id": {"type": "varchar", "primary": True, "max_length": 64},
    "text": {"type": "varchar", "max_length": 8192},
    "source": {"type": "varchar", "max_length": 1024},
    "position": {"type": "int64"},
    "vector": {"type": "float_vector", "dimension": 384},
}
TEXTS = {
    "backup.md": "# Backups\n\nA snapshot holds every part of a stack. It is written once and never changed.",
    "deep/restore.txt": "Restoring puts a snapshot back into a new place, and then switches to it.",
    "scaling.rst": "A reading that is unknown holds the replicas where they are.\n\nA GPU with a full queue gets help.",
    "cooking.md": "Boil the pasta in salted water.\n\nFry onions slowly until they are golden.",
}


class Counting:
    """An embedder that counts what it is asked."""

    def __init__(self, inner: OpenAIEmbeddings) -> None:
        self._inner = inner
        self.texts: list[str] = []

    def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        self.texts += texts
        return self._inner.embed(model, texts)

    def models(self) -> tuple[str, ...]:
        return self._inner.models()


@pytest.fixture
def embedder(embedding_server: str) -> Counting:
    return Counting(OpenAIEmbeddings(embedding_server))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in TEXTS.items():
        path = tmp_path / "corpus" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "corpus"


@pytest.fixture
def name(vector_store: MilvusStore) -> Iterator[str]:
    made = f"corpus_{uuid4().hex[:10]}"
    ensure(made, wanted(Collection.model_validate({"store": "milvus", "fields": DECLARED}), {}), vector_store)
    yield made
    for alias, target in vector_store.aliases().items():
        if target.startswith(made):
            vector_store._client.drop_alias(alias)
    for found in vector_store.collections():
        if found.startswith(made):
            vector_store.drop(found)


def run(folder: Path, name: str, embedder: Counting, store: MilvusStore, **more: Any) -> Ingested:
    return ingest(folder, name, embedder, MODEL, store, **{"batch": 3, "size": 100, "overlap": 20, **more})


def rows_of(store: MilvusStore, name: str) -> list[Mapping[str, Any]]:
    return [row for page in store.rows(name) for row in page]


def test_only_what_changed_is_embedded(
    folder: Path, name: str, embedder: Counting, vector_store: MilvusStore
) -> None:
    first = run(folder, name, embedder, vector_store)
    assert (first.files, first.unchanged, first.removed, first.skipped) == (4, 0, 0, ())
    assert first.added == first.chunks == vector_store.count(name) == len(embedder.texts)
    before = rows_of(vector_store, name)

    embedder.texts.clear()
    again = run(folder, name, embedder, vector_store)
    assert (again.added, again.unchanged, again.removed) == (0, first.chunks, 0)
    assert embedder.texts == []
    assert rows_of(vector_store, name) == before

    (folder / "cooking.md").write_text("Fry onions slowly until they are golden.")
    changed = run(folder, name, embedder, vector_store)
    assert len(embedder.texts) == changed.added == 1
    assert changed.removed == sum(row["source"] == "cooking.md" for row in before)
    assert {row["text"] for row in rows_of(vector_store, name) if row["source"] == "cooking.md"} == {
        "Fry onions slowly until they are golden."
    }


def test_what_could_not_be_read_deletes_nothing(
    folder: Path, name: str, embedder: Counting, vector_store: MilvusStore
) -> None:
    run(folder, name, embedder, vector_store)
    before = rows_of(vector_store, name)
    (folder / "cooking.md").write_bytes(b"\0" + b"binary")
    (folder / "backup.md").write_bytes(b"caf\xe9")
    with (folder / "deep" / "restore.txt").open("ab") as file:
        file.truncate(9 * 2**20)
    again = run(folder, name, embedder, vector_store)
    assert rows_of(vector_store, name) == before
    assert {skipped.source: skipped.reason.split(" (")[0] for skipped in again.skipped} == {
        "backup.md": "it is not UTF-8",
        "cooking.md": "it is binary",
        "deep/restore.txt": "it is larger than 8388608 bytes",
    }


def test_rows_of_a_file_that_was_taken_out_go(
    folder: Path, name: str, embedder: Counting, vector_store: MilvusStore
) -> None:
    run(folder, name, embedder, vector_store)
    before = rows_of(vector_store, name)
    foreign = {**before[0], "id": "somebody-elses", "source": "gone.md"}
    vector_store.upsert(name, [foreign])
    (folder / "scaling.rst").unlink()
    (folder / "deep" / "restore.txt").unlink()
    (folder / "deep").rmdir()
    done = run(folder, name, embedder, vector_store)
    left = {row["source"] for row in rows_of(vector_store, name)}
    assert left == {"backup.md", "cooking.md", "gone.md"}
    assert done.removed == sum(row["source"] in ("scaling.rst", "deep/restore.txt") for row in before)


@pytest.mark.parametrize("lost", ["the whole folder", "a folder in it", "a folder that may not be read"])
def test_a_folder_that_is_out_of_reach_takes_no_row_away(
    folder: Path, name: str, embedder: Counting, vector_store: MilvusStore, lost: str, tmp_path: Path
) -> None:
    """A disk that is not mounted leaves an empty folder: nothing was taken out of it."""
    run(folder, name, embedder, vector_store)
    before = rows_of(vector_store, name)
    away = folder if lost == "the whole folder" else folder / "deep"
    away.rename(tmp_path / "away")
    away.mkdir()
    walk = os.walk

    def unreadable(top: Path, onerror: Any = None) -> Iterator[Any]:
        for here, folders, files in walk(top):
            if Path(here).name == "deep":
                onerror(PermissionError(13, "Permission denied", here))
                continue
            yield here, folders, files

    with pytest.MonkeyPatch.context() as patch:
        if lost == "a folder that may not be read":  # root may read everything, and tests may be run by root
            patch.setattr(os, "walk", unreadable)
        done = run(folder, name, embedder, vector_store)
    assert done.removed == 0
    assert done.kept == sum(
        lost == "the whole folder" or row["source"] == "deep/restore.txt" for row in before
    )
    assert rows_of(vector_store, name) == before


def test_the_walk_is_sorted_and_leaves_out_what_is_hidden(folder: Path) -> None:
    for hidden in (".git/a.md", ".hidden.md", "deep/.b/c.md", "image.png", "notes.MD"):
        (folder / hidden).parent.mkdir(exist_ok=True)
        (folder / hidden).write_text("text")
    (folder / "loop").symlink_to(folder)
    (folder / "gone.md").symlink_to(folder / "nowhere.md")
    os.mkfifo(folder / "pipe.md")
    corpus = read_corpus(folder)
    assert list(corpus.sources) == ["backup.md", "cooking.md", "notes.MD", "scaling.rst", "deep/restore.txt"]
    with pytest.raises(UsageError, match="not a folder"):
        read_corpus(folder / "backup.md")


def test_a_killed_run_is_carried_on(
    folder: Path, name: str, embedder: Counting, vector_store: MilvusStore
) -> None:
    class Dying(Counting):
        def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
            if self.texts:
                raise Unreachable("gone", remedy="none")
            return super().embed(model, texts)

    with pytest.raises(Unreachable):
        run(folder, name, Dying(embedder._inner), vector_store, batch=2)
    assert vector_store.count(name) == 2
    assert run(folder, name, embedder, vector_store).unchanged == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"vector": {"type": "float_vector", "dimension": 8}}, "384 numbers; .* holds 8"),
        ({"text": {"type": "varchar", "max_length": 20}}, "max_length"),
        ({"source": None}, r"lacks source \(varchar\)"),
        ({"position": {"type": "varchar", "max_length": 9}}, r"lacks position \(int64\)"),
        ({"other": {"type": "int64"}}, "asks for other"),
    ],
)
def test_a_collection_that_does_not_fit(
    folder: Path, name: str, embedder: Counting, vector_store: MilvusStore, change: dict[str, Any], said: str
) -> None:
    fields = {key: value for key, value in {**DECLARED, **change}.items() if value is not None}
    schema = wanted(Collection.model_validate({"store": "milvus", "fields": fields}), {})
    ensure(f"{name}_odd", schema, vector_store)
    with pytest.raises(SchemaMismatch, match=said):
        run(folder, f"{name}_odd", embedder, vector_store)
    with pytest.raises(SchemaMismatch, match="no collection"):
        run(folder, f"{name}_never", embedder, vector_store)


def test_a_restored_collection_answers_as_before(
    folder: Path, name: str, embedder: Counting, vector_store: MilvusStore, tmp_path: Path
) -> None:
    run(folder, name, embedder, vector_store)
    declared = ["How do I put a snapshot back?", "How long do onions take?"]
    answers = ask(embedder, MODEL, vector_store, name, declared, limit=3)
    texts = {row["id"]: row["text"] for row in rows_of(vector_store, name)}
    assert "Restoring" in texts[str(answers[0][0])]
    assert "onions" in texts[str(answers[1][0])]
    kept = keep_answers(name, "text-embedding", declared, answers)
    assert kept[0].answer == answers[0]

    scratch = tmp_path / "capture"
    scratch.mkdir()
    taken = CollectionSource(name, vector_store).capture(scratch, silent)
    target = CollectionTarget(name, vector_store, tmp_path / "scratch")
    place = target.stage(part_of(name, taken), "drill", fetch_from(taken), silent)
    again = ask(embedder, MODEL, vector_store, place, declared, limit=3)
    assert recall([question.answer for question in kept], again).mean == 1.0
    wrong = ask(embedder, MODEL, vector_store, place, declared[::-1], limit=1)
    assert recall([question.answer for question in kept], wrong, k=1).mean == 0.0


def test_questions_of_the_rows_themselves() -> None:
    rows = [
        {"id": 1, "text": "First sentence here. And another."},
        {"id": 2, "text": "  \n"},
        {"id": 3, "text": "# Title\n\nBody"},
        {"id": 4, "text": "word " * 100},
        {"id": 5, "text": "First sentence here. Something else."},
    ]
    picked = pick_questions((), rows, "text")
    assert sorted(picked)[:2] == ["# Title", "First sentence here."]
    assert len(picked) == 3
    assert all(len(text) <= 200 for text in picked)
    assert pick_questions((), rows[::-1], "text") == picked
    assert pick_questions((), rows, "text", count=1) == picked[:1]
    assert pick_questions(["Declared?"], rows, "text") == ("Declared?",)
    assert pick_questions((), rows, None) == ()
    schema = wanted(Collection.model_validate({"store": "m", "fields": DECLARED}), {})
    assert text_field(schema) == "text"


def test_asking_what_is_not_there(embedder: Counting, vector_store: MilvusStore, name: str) -> None:
    assert ask(embedder, MODEL, vector_store, name, []) == ()
    assert ask(embedder, MODEL, vector_store, name, ["anything"]) == ((),)
    with pytest.raises(SchemaMismatch, match="no collection"):
        ask(embedder, MODEL, vector_store, f"{name}_never", ["anything"])
    with pytest.raises(SchemaMismatch, match="no vector field text"):
        ask(embedder, MODEL, vector_store, name, ["anything"], "text")
    with pytest.raises(Unreachable):
        ask(OpenAIEmbeddings(f"http://127.0.0.1:{free_port()}"), MODEL, vector_store, name, ["anything"])
