"""Collections as declared: looked at, compared, created. What is there is never changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from ops_pipelines.engines.ports import Embedder, VectorStore
from ops_pipelines.errors import OpsError, Refused, SchemaMismatch, Unreachable
from ops_pipelines.policy.plan import Finding, failed
from ops_pipelines.policy.schema_drift import check_name, drift
from ops_pipelines.policy.vectors import CollectionSchema, CollectionState

_log = structlog.get_logger()


@dataclass(frozen=True)
class Inspection:
    """A collection as it is, and how that compares with its declaration."""

    state: CollectionState | None
    """None where it is not there or could not be seen: the findings say which."""
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Ensured:
    """What `ensure` left behind."""

    physical: str
    created: bool


def inspect(
    name: str,
    schema: CollectionSchema,
    store: VectorStore,
    *,
    expected_rows: int | None = None,
    allowed: float = 0.0,
) -> Inspection:
    """Compare a collection with its schema. A server that cannot be asked is an unknown finding."""
    try:
        state = store.state(name)
    except SchemaMismatch as error:
        return Inspection(None, (Finding(f"collection/{name}", False, error.message, error.remedy),))
    except OpsError as error:
        return Inspection(None, (Finding(f"collection/{name}", None, error.message, error.remedy),))
    return Inspection(state, drift(name, schema, state, expected_rows=expected_rows, allowed=allowed))


def ensure(name: str, schema: CollectionSchema, store: VectorStore, *, suffix: str = "1") -> Ensured:
    """Have a collection, loaded, behind its alias; create it as `<name>__<suffix>` where it is missing.

    The alias comes last, so that clients see a whole collection or none, and a second call after a crash goes
    on. Raises SchemaMismatch where what is there is not as declared: nothing is then changed.
    """
    check_name(name)
    state = store.state(name)
    if state is not None:
        _must_fit(name, schema, state)
        if not state.loaded:
            store.load(state.name)
            _log.info("collection loaded", collection=state.name)
        return Ensured(state.name, created=False)
    physical = f"{name}__{suffix}"
    begun = store.state(physical)
    if begun is None:
        store.create(physical, schema)
    if begun is None or not begun.schema.indexes:
        store.build_indexes(physical, schema)
    made = store.state(physical)
    if made is None:
        raise Refused(
            f"{physical} was created and is not there",
            remedy="look at the vector database's log, and whether something else drops collections",
        )
    _must_fit(physical, schema, made)
    store.load(physical)
    store.point_alias(name, physical)
    _log.info("collection created", collection=physical, alias=name)
    return Ensured(physical, created=True)


def _must_fit(name: str, schema: CollectionSchema, state: CollectionState) -> None:
    problems = failed(drift(name, schema, state))
    if problems:
        raise SchemaMismatch(
            f"the collection {name} is not as declared: "
            + "; ".join(problem.message for problem in problems),
            remedy=problems[0].remedy,
        )


def check_dimension(
    name: str,
    schema: CollectionSchema,
    embedder: Embedder,
    model: str,
    *,
    declared: int | None = None,
    fields: Sequence[str] | None = None,
) -> tuple[Finding, ...]:
    """Ask the embedding server for a vector and compare its length with the fields and the declaration.

    `model` is the name that the server knows, `declared` the model's dimension in the stack file, `fields`
    the vector fields that it fills (all float vectors where not named).
    """
    subject = f"collection/{name}"
    try:
        real = len(embedder.embed(model, ["How long is a vector?"])[0])
    except (Unreachable, Refused) as error:
        return (Finding(subject, None, f"the length of {model}'s vectors is unknown: {error.message}",
                        error.remedy),)  # fmt: skip
    except OpsError as error:
        return (Finding(subject, False, error.message, error.remedy),)
    gives = f"{model} gives vectors of {real} numbers"
    findings: list[Finding] = []
    if declared is not None and declared != real:
        remedy = "set the model's `dimension` to what it gives, or serve the model that is declared"
        findings.append(Finding(subject, False, f"{gives}; its declaration says {declared}", remedy))
    named = fields or [f.name for f in schema.vectors if f.type == "float_vector"]
    findings += [
        Finding(
            subject,
            False,
            f"{gives}; the field {field.name} holds {field.dimension}",
            f"set `fields.{field.name}.dimension`, or `embedding` to a model of {field.dimension} numbers",
        )
        for field in schema.vectors
        if field.name in named and field.dimension != real
    ]
    return tuple(findings) or (Finding(subject, True, f"{gives}, as declared"),)
