"""What a declaration asks for, and each way to differ from it: every row flips one fact."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ops_pipelines.errors import SchemaMismatch, SnapshotDamaged
from ops_pipelines.policy.collection_schema import decode_schema, encode_schema
from ops_pipelines.policy.schema_drift import check_name, drift, same_schema, wanted
from ops_pipelines.policy.vectors import CollectionSchema, CollectionState, FieldSchema, IndexSchema
from ops_pipelines.stack.data import Collection, Model

FIELDS: dict[str, Any] = {
    "id": {"type": "varchar", "primary": True, "max_length": 64},
    "text": {"type": "varchar", "max_length": 8192},
    "vector": {"type": "float_vector"},
}
MODELS = {"mini": Model(source="package:mini", role="embedding", dimension=384)}


def declared(**more: Any) -> Collection:
    return Collection.model_validate({"store": "milvus", "embedding": "mini", "fields": FIELDS, **more})


WANTED = wanted(declared(index={"vector": {"type": "HNSW", "params": {"M": 16}}}), MODELS)
STATE = CollectionState("docs__1", "docs", WANTED, rows=100, loaded=True)


def with_field(name: str, **changes: Any) -> CollectionSchema:
    return replace(
        WANTED, fields=tuple(replace(f, **changes) if f.name == name else f for f in WANTED.fields)
    )


def with_index(**changes: Any) -> CollectionSchema:
    return replace(WANTED, indexes={"vector": replace(WANTED.indexes["vector"], **changes)})


def test_the_dimension_comes_from_the_model() -> None:
    assert [f.dimension for f in WANTED.vectors] == [384]
    own = declared(fields={**FIELDS, "vector": {"type": "float_vector", "dimension": 8}})
    assert wanted(own, MODELS).vectors[0].dimension == 8


@pytest.mark.parametrize(
    ("type", "index"),
    [
        ("float_vector", IndexSchema("AUTOINDEX", "COSINE")),
        ("sparse_float_vector", IndexSchema("SPARSE_INVERTED_INDEX", "IP")),
        ("binary_vector", IndexSchema("BIN_FLAT", "HAMMING")),
    ],
)
def test_every_vector_has_an_index(type: str, index: IndexSchema) -> None:
    schema = wanted(declared(fields={**FIELDS, "vector": {"type": type}}), MODELS)
    assert schema.indexes == {"vector": index}


@pytest.mark.parametrize(
    ("collection", "models", "said"),
    [
        (declared(), {}, "no dimension"),
        (declared(embedding=None), MODELS, "no dimension"),
        (declared(), {"mini": Model(source="package:mini")}, "no dimension"),
        (declared(fields={"id": {"type": "int64"}, "v": FIELDS["vector"]}), MODELS, "declares none"),
        (declared(fields={**FIELDS, "k": {"type": "int64", "primary": True}}), MODELS, "declares id, k"),
    ],
)
def test_a_declaration_that_makes_no_schema(
    collection: Collection, models: dict[str, Model], said: str
) -> None:
    with pytest.raises(SchemaMismatch, match=said):
        wanted(collection, models)


@pytest.mark.parametrize("name", ["a-b", "1a", "", "a b", "a" * 300, "ü"])
def test_names_that_milvus_does_not_take(name: str) -> None:
    with pytest.raises(SchemaMismatch, match="does not take"):
        check_name(name)


def test_as_declared_is_one_good_finding() -> None:
    assert [finding.ok for finding in drift("docs", WANTED, STATE)] == [True]
    assert [finding.ok for finding in drift("docs", WANTED, STATE, expected_rows=100)] == [True]


@pytest.mark.parametrize(
    ("seen", "said", "setting"),
    [
        (with_field("vector", dimension=768), ("384", "768", "dimension"), "fields.vector.dimension"),
        (with_field("text", type="json", max_length=None), ("varchar", "json", "type"), "fields.text.type"),
        (with_field("text", max_length=100), ("8192", "100"), "fields.text.max_length"),
        (with_field("text", nullable=True), ("False", "True", "nullable"), "fields.text.nullable"),
        (with_field("id", auto_id=True), ("False", "True", "auto_id"), "fields.id.auto_id"),
        (replace(WANTED, fields=(WANTED.fields[0], WANTED.fields[2])), ("text", "not there"), "fields.text"),
        (replace(WANTED, fields=(*WANTED.fields, FieldSchema("more", "bool"))), ("more", "not declared"),
         "fields.more"),
        (with_index(type="FLAT"), ("HNSW", "FLAT"), "index.vector.type"),
        (with_index(metric="L2"), ("COSINE", "L2"), "index.vector.metric"),
        (with_index(params={"M": 8}), ("16", "8"), "index.vector.params.M"),
        (replace(WANTED, indexes={}), ("HNSW", "none"), "index.vector"),
        (replace(WANTED, dynamic=True), ("False", "True"), "dynamic"),
    ],
)  # fmt: skip
def test_each_difference_names_both_values_and_the_setting(
    seen: CollectionSchema, said: tuple[str, ...], setting: str
) -> None:
    findings = drift("docs", WANTED, replace(STATE, schema=seen))
    assert [finding.ok for finding in findings] == [False]
    assert all(word in findings[0].message for word in said)
    assert f"`{setting}`" in findings[0].remedy
    assert same_schema("docs", WANTED, seen) == findings


def test_what_a_server_does_not_tell_is_no_drift() -> None:
    assert drift("docs", WANTED, replace(STATE, schema=with_index(params={})))[0].ok
    assert drift("docs", WANTED, replace(STATE, schema=with_field("text", max_length=None)))[0].ok


def test_partitions() -> None:
    want = replace(WANTED, partitions=("east", "west"))
    findings = drift("docs", want, replace(STATE, schema=replace(WANTED, partitions=("west",))))
    assert [("east" in f.message, "`partitions`" in f.remedy) for f in findings] == [(True, True)]


@pytest.mark.parametrize(
    ("expected", "allowed", "ok"),
    [
        (100, 0.0, True),
        (101, 0.0, False),
        (99, 0.0, False),
        (105, 0.05, True),
        (106, 0.05, False),
        (0, 0.5, False),
    ],
)
def test_rows_against_an_expected_count(expected: int, allowed: float, ok: bool) -> None:
    findings = drift("docs", WANTED, STATE, expected_rows=expected, allowed=allowed)
    assert [finding.ok for finding in findings] == [ok]
    if not ok:
        assert "100" in findings[0].message
        assert str(expected) in findings[0].message


def test_missing_is_bad_whatever_was_expected() -> None:
    for expected in (None, 0):
        findings = drift("docs", WANTED, None, expected_rows=expected)
        assert [finding.ok for finding in findings] == [False]
        assert "deploy" in findings[0].remedy


def test_the_schema_file_comes_back() -> None:
    content = encode_schema(STATE, "milvus_lite-3.2.2")
    kept = decode_schema(content, where="collection/docs")
    assert (kept.schema, kept.alias, kept.server) == (WANTED, "docs", "milvus_lite-3.2.2")
    assert encode_schema(STATE, "milvus_lite-3.2.2") == content
    for harmed in (b"", b"{}", b"[]", content[:-20], content.replace(b'"type"', b'"typ"')):
        with pytest.raises(SnapshotDamaged, match="collection/docs"):
            decode_schema(harmed, where="collection/docs")
