"""How two snapshots differ: each row flips one fact of the second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from ops_pipelines.policy.manifest import FileEntry, Manifest, Part, Plain
from ops_pipelines.policy.snapshot_diff import ModelChange, PartDiff, compare


def entry(path: str, digit: str, size: int = 10) -> FileEntry:
    return FileEntry(path, size, digit * 64)


MODELS = Part(
    "model_cache", "models", (entry("a", "a"), entry("b", "b")),
    {"models": [{"name": "m", "revision": "r1"}, {"name": "n", "revision": "r1"}]},
)  # fmt: skip
DOCS = Part("collection", "docs", (entry("rows/1", "c"),), {"rows": 5})
SQL = Part("database", "sql", (entry("dump", "d"),), {"rows": {"t": 3, "u": 1}, "tables": {"t": 3, "u": 1}})
BEFORE = Manifest("20260102T030000Z-aaaaaa", "chat", "2026-01-02T03:00:00+00:00", (MODELS, DOCS, SQL))


def after(part: Part | None = None, **facts: Any) -> Manifest:
    parts = (
        BEFORE.parts if part is None else tuple(part if one.key == part.key else one for one in BEFORE.parts)
    )
    return replace(BEFORE, snapshot="20260103T030000Z-aaaaaa", parts=parts, **facts)


def only_change(changed: Manifest) -> PartDiff:
    found = compare(BEFORE, changed)
    assert not found.same
    [part] = [part for part in found.parts if part.change != "same"]
    return part


def test_equal_content_is_the_same() -> None:
    found = compare(BEFORE, after())
    assert found.same
    assert (found.bytes_before, found.bytes_after, found.bytes_new) == (40, 40, 0)
    assert (found.declaration_changed, found.revision_before, found.revision_after) == (False, None, None)


@pytest.mark.parametrize(
    ("part", "added", "removed", "changed", "new"),
    [
        (replace(MODELS, files=(*MODELS.files, entry("z", "e", 7))), ("z",), (), (), 7),
        (replace(MODELS, files=(*MODELS.files, entry("copy", "a"))), ("copy",), (), (), 0),
        (replace(MODELS, files=MODELS.files[:1]), (), ("b",), (), 0),
        (replace(MODELS, files=(entry("a", "a"), entry("b", "f", 9))), (), (), ("b",), 9),
        (replace(MODELS, files=(entry("a", "a"), replace(entry("b", "b"), mode=0o600))), (), (), ("b",), 0),
        (replace(MODELS, files=(entry("a", "a"), FileEntry("b", 0, "", link="a"))), (), (), ("b",), 0),
    ],
)
def test_files(
    part: Part, added: tuple[str, ...], removed: tuple[str, ...], changed: tuple[str, ...], new: int
) -> None:
    found = only_change(after(part))
    assert (found.change, found.files_added, found.files_removed, found.files_changed) == (
        "changed", added, removed, changed,
    )  # fmt: skip
    assert compare(BEFORE, after(part)).bytes_new == new


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ([("m", "r1")], ModelChange("n", "removed", "r1", "")),
        ([("m", "r1"), ("n", "r2")], ModelChange("n", "changed", "r1", "r2")),
        ([("m", "r1"), ("n", "r1"), ("n", "r0")], ModelChange("n", "changed", "r1", "r0, r1")),
        ([("m", "r1"), ("n", "r1"), ("o", "r1")], ModelChange("o", "added", "", "r1")),
    ],
)
def test_models(models: list[tuple[str, str]], expected: ModelChange) -> None:
    facts = {"models": [{"name": name, "revision": revision} for name, revision in models]}
    assert only_change(after(replace(MODELS, facts=facts))).models == (expected,)


@pytest.mark.parametrize(
    ("facts", "more"), [({"rows": 9}, 4), ({"rows": 0}, -5), ({}, None), ({"rows": "many"}, None)]
)
def test_rows(facts: Mapping[str, Any], more: int | None) -> None:
    assert only_change(after(replace(DOCS, facts=facts))).rows_more == more


def test_tables() -> None:
    counts = {"t": 4, "w": 2}
    found = only_change(after(replace(SQL, facts={"rows": counts, "tables": counts})))
    assert found.rows_more == 2
    assert found.tables == {"t": (3, 4), "u": (1, None), "w": (None, 2)}


@pytest.mark.parametrize(
    ("section", "word", "name"), [("tables", "rows", "events"), ("databases", "keys", "0")]
)
def test_tables_of_clickhouse_and_databases_of_redis(section: str, word: str, name: str) -> None:
    def taken(**counts: int) -> Part:
        return replace(
            SQL, facts={section: {name: {"engine": "x", word: count} for name, count in counts.items()}}
        )

    before = replace(BEFORE, parts=(taken(**{name: 3, "same": 1}),))
    [part] = compare(before, replace(before, parts=(taken(**{name: 5, "same": 1}),))).parts
    assert part.tables == {name: (3, 5)}


def test_the_same_content_encrypted_anew_is_the_same() -> None:
    def sealed(digit: str) -> Manifest:
        entries = tuple(
            replace(one, size=one.size + 200, sha256=digit * 64, plain=Plain(one.size, one.sha256))
            for one in MODELS.files
        )
        return after(replace(MODELS, files=entries, recipients=("age1x",)))

    found = compare(sealed("1"), sealed("2"))
    assert found.same
    assert compare(BEFORE, sealed("1")).same, "nor is it another for being encrypted"


def test_parts_that_came_and_went() -> None:
    other = Part("volume", "v", (entry("f", "e", 3),))
    changed = replace(after(declaration="d", revision=4), parts=(MODELS, DOCS, other))
    found = compare(BEFORE, changed)
    assert [(part.part, part.change) for part in found.parts] == [
        ("model_cache/models", "same"), ("collection/docs", "same"), ("database/sql", "removed"),
        ("volume/v", "added"),
    ]  # fmt: skip
    assert (found.bytes_new, found.declaration_changed, found.revision_after) == (3, True, 4)
