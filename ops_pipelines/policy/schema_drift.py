"""What a collection should be by its declaration, and how what is there differs from that."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from ops_pipelines.errors import SchemaMismatch
from ops_pipelines.policy.plan import Finding
from ops_pipelines.policy.vectors import CollectionSchema, CollectionState, FieldSchema, IndexSchema
from ops_pipelines.stack.data import Collection, CollectionField, Model

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,200}")
_DEFAULT_INDEX = {
    "binary_vector": IndexSchema("BIN_FLAT", "HAMMING"),
    "sparse_float_vector": IndexSchema("SPARSE_INVERTED_INDEX", "IP"),
}
"""Index of a vector field that declares none; of the other types it is AUTOINDEX with COSINE."""
_REBUILD = "restore or ingest into a new collection and switch the alias, or change"


def check_name(name: str) -> str:
    """The name, where Milvus takes it (letters, digits and `_`). Raises SchemaMismatch otherwise."""
    if not _NAME.fullmatch(name):
        raise SchemaMismatch(
            f"the collection {name!r} has a name that Milvus does not take",
            remedy="use letters, digits and `_` only, and no digit first, in `collections`",
        )
    return name


def wanted(collection: Collection, models: Mapping[str, Model]) -> CollectionSchema:
    """The schema that a declaration asks for; a vector without a dimension has its embedding model's.

    Raises SchemaMismatch where a dimension is not to be found, or there is not one primary key.
    """
    fields = tuple(_field(name, field, collection, models) for name, field in collection.fields.items())
    primaries = [field.name for field in fields if field.primary]
    if len(primaries) != 1:
        raise SchemaMismatch(
            f"a collection has one primary key; this one declares {', '.join(primaries) or 'none'}",
            remedy="set `primary: true` on one field of `fields`",
        )
    vectors = [field for field in fields if field.type.endswith("_vector")]
    indexes = {}
    for field in vectors:
        declared = collection.index.get(field.name)
        indexes[field.name] = (
            IndexSchema(declared.type, declared.metric, dict(declared.params))
            if declared
            else _DEFAULT_INDEX.get(field.type, IndexSchema("AUTOINDEX", "COSINE"))
        )
    return CollectionSchema(fields, indexes, collection.dynamic, tuple(sorted(collection.partitions)))


def _field(
    name: str, field: CollectionField, collection: Collection, models: Mapping[str, Model]
) -> FieldSchema:
    dimension = field.dimension
    if dimension is None and field.type.endswith("_vector") and field.type != "sparse_float_vector":
        model = models.get(collection.embedding) if collection.embedding else None
        dimension = model.dimension if model else None
        if dimension is None:
            raise SchemaMismatch(
                f"the vector field {name} has no dimension, and no embedding model tells one",
                remedy=f"set `dimension` on the field {name}, or on the model named in `embedding`",
            )
    return FieldSchema(
        name=name,
        type=field.type,
        primary=field.primary,
        auto_id=field.auto_id,
        dimension=dimension,
        max_length=field.max_length,
        element=field.element,
        capacity=field.capacity,
        nullable=field.nullable,
    )


def drift(
    name: str,
    schema: CollectionSchema,
    state: CollectionState | None,
    *,
    expected_rows: int | None = None,
    allowed: float = 0.0,
) -> tuple[Finding, ...]:
    """How the collection differs from the schema; one good finding where it does not.

    `expected_rows` is a count known from elsewhere (a snapshot, the corpus); `allowed` is the share of it by
    which the rows may differ.
    """
    subject = f"collection/{name}"
    if state is None:
        return (Finding(subject, False, "is declared and not there", "deploy the stack: that creates it"),)
    found = [
        *_fields(subject, schema, state.schema),
        *_indexes(subject, schema, state.schema),
        *_options(subject, schema, state.schema),
        *_rows(subject, state.rows, expected_rows, allowed),
    ]
    if found:
        return tuple(found)
    dimensions = ", ".join(f"{f.name}: {f.dimension}" for f in schema.vectors if f.dimension)
    return (Finding(subject, True, f"is as declared, {state.rows} rows ({dimensions or 'sparse'})"),)


def same_schema(name: str, kept: CollectionSchema, seen: CollectionSchema) -> tuple[Finding, ...]:
    """How a restored collection's shape differs from the one that was kept. None: it does not.

    What another server may not have and no row hangs on (a scalar index, a description, whose keys are made by
    whom) is a warning."""
    subject = f"collection/{name}"
    vectors = {field.name for field in kept.fields if field.type.endswith("_vector")}
    scalar = {field: index for field, index in kept.indexes.items() if field not in vectors}
    own_keys = kept.primary.auto_id and not any(f.auto_id for f in seen.fields)
    same_keys = (
        replace(kept, fields=tuple(replace(f, auto_id=False) for f in kept.fields)) if own_keys else kept
    )
    strict = replace(same_keys, indexes={f: i for f, i in kept.indexes.items() if f in vectors})
    return (
        *_fields(subject, strict, seen),
        *_indexes(subject, strict, seen),
        *_options(subject, strict, seen),
        *_computed(subject, strict, seen),
        *(
            Finding(subject, False, text, remedy, "warning")
            for text, remedy in _lost(kept, seen, scalar, own_keys=own_keys)
        ),
    )


def _computed(subject: str, kept: CollectionSchema, seen: CollectionSchema) -> Iterator[Finding]:
    there = {function.name: function for function in seen.functions}
    for want in kept.functions:
        other = there.get(want.name)
        if other is None or (want.type, want.inputs, want.outputs) != (
            other.type,
            other.inputs,
            other.outputs,
        ):
            yield _bad(subject, f"the function {want.name} ({want.type}) was kept and is not there",
                       "restore into a server of the version that the snapshot names, or a later one")  # fmt: skip
    there_fields = {field.name: field for field in seen.fields}
    for field in kept.fields:
        same = there_fields.get(field.name, field)
        for word in ("default", "partition_key"):
            if getattr(field, word) != getattr(same, word):
                yield _bad(subject, f"the {word} of {field.name} was {getattr(field, word)} and is "
                           f"{getattr(same, word)}", "restore into a server that has it")  # fmt: skip


def _lost(
    kept: CollectionSchema, seen: CollectionSchema, scalar: Mapping[str, IndexSchema], *, own_keys: bool
) -> Iterator[tuple[str, str]]:
    if own_keys:
        yield (
            f"{kept.primary.name} is no longer made by the server (auto_id): it takes no rows with their keys",
            "have clients give a key with each row, or copy the rows into a collection with auto_id",
        )
    for field, index in scalar.items():
        if field not in seen.indexes:
            yield f"the index {index.type} of {field} is not there: filters on it are slower", "build another"
    for word in ("description", "properties", "consistency"):
        want, have = getattr(kept, word), getattr(seen, word)
        if want and want != have:
            yield f"the {word} was {want} and is {have or 'none'}", "set it anew where it matters"


def _fields(subject: str, schema: CollectionSchema, seen: CollectionSchema) -> Iterator[Finding]:
    there = {field.name: field for field in seen.fields}
    for field in schema.fields:
        other = there.pop(field.name, None)
        if other is None:
            yield _bad(subject, f"the field {field.name} ({field.type}) is declared and not there",
                       f"{_REBUILD} `fields.{field.name}`")  # fmt: skip
        else:
            yield from _field_drift(subject, field, other)
    for extra in there.values():
        yield _bad(subject, f"the field {extra.name} ({extra.type}) is there and not declared",
                   f"declare it in `fields.{extra.name}`, or move to a new collection")  # fmt: skip


def _field_drift(subject: str, want: FieldSchema, seen: FieldSchema) -> Iterator[Finding]:
    pairs: list[tuple[str, object, object]] = [
        ("type", want.type, seen.type),
        ("primary", want.primary, seen.primary),
        ("auto_id", want.auto_id, seen.auto_id),
        ("nullable", want.nullable, seen.nullable),
    ]
    if want.type == seen.type:
        # A server that keeps no length of an array's texts, or no capacity, tells none: that is no drift.
        pairs += [
            (word, mine, theirs)
            for word, mine, theirs in (
                ("dimension", want.dimension, seen.dimension),
                ("max_length", want.max_length, seen.max_length),
                ("element", want.element, seen.element),
                ("capacity", want.capacity, seen.capacity),
            )
            if mine is not None and theirs is not None
        ]
    for word, mine, theirs in pairs:
        if mine != theirs:
            setting = f"`fields.{want.name}.{word}`"
            if word == "dimension":
                setting += " (or the embedding model and its `dimension`)"
            yield _bad(subject, f"the {word} of {want.name} is declared {mine} and is {theirs}",
                       f"{_REBUILD} {setting}")  # fmt: skip


def _indexes(subject: str, schema: CollectionSchema, seen: CollectionSchema) -> Iterator[Finding]:
    for field, want in schema.indexes.items():
        index = seen.indexes.get(field)
        if index is None:
            yield _bad(subject, f"{field} is declared with an index {want.type} and has none",
                       f"{_REBUILD} `index.{field}`")  # fmt: skip
            continue
        shown = {key: value for key, value in want.params.items() if key in index.params}
        pairs = [("type", want.type, index.type), ("metric", want.metric, index.metric)]
        pairs += [(f"params.{key}", value, index.params[key]) for key, value in shown.items()]
        for word, mine, theirs in pairs:
            if mine != theirs:
                yield _bad(subject, f"the index {word} of {field} is declared {mine} and is {theirs}",
                           f"{_REBUILD} `index.{field}.{word}`")  # fmt: skip


def _options(subject: str, schema: CollectionSchema, seen: CollectionSchema) -> Iterator[Finding]:
    if schema.dynamic != seen.dynamic:
        yield _bad(subject, f"dynamic is declared {schema.dynamic} and is {seen.dynamic}",
                   f"{_REBUILD} `dynamic`")  # fmt: skip
    missing = sorted(set(schema.partitions) - set(seen.partitions))
    if missing:
        there = ", ".join(seen.partitions) or "none"
        yield _bad(subject, f"the partitions {', '.join(missing)} are declared and not there (there: {there})",
                   f"{_REBUILD} `partitions`")  # fmt: skip


_SHRUNK = 0.5
"""Share of the newest snapshot's rows below which a collection is no longer taken for the same one."""


def shrunk(name: str, rows: int, kept: int, snapshot: str) -> tuple[Finding, ...]:
    """Whether a live collection has lost its rows: fewer than half of those that the newest snapshot holds.

    Rows come and go in a live collection; an emptied one, or one that was filled anew by mistake, does not."""
    if rows >= kept * _SHRUNK:
        return ()
    return (
        Finding(
            f"collection/{name}",
            False,
            f"holds {rows} rows where the newest snapshot ({snapshot}) has {kept}",
            "look what deleted them; `ops-pipelines restore` brings them back. If they were meant to go, take "
            "a new backup",
        ),
    )


def _rows(subject: str, rows: int, expected: int | None, allowed: float) -> Iterator[Finding]:
    if expected is not None and abs(rows - expected) > expected * allowed:
        yield _bad(subject, f"holds {rows} rows where {expected} are expected",
                   "look what added or deleted rows; `ops-pipelines restore` brings back a snapshot's")  # fmt: skip


def _bad(subject: str, message: str, remedy: str) -> Finding:
    return Finding(subject, False, message, remedy)
