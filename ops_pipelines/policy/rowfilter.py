"""Which rows of a snapshot are meant: a filter in Milvus' words, answered from the rows themselves.

`year >= 2024 and lang in ["de", "fr"]`, `text like "intro%"`, `doc["a"]["b"] == 1`, `not (n is null)`; `&&`, `||`
and `!` too (https://milvus.io/docs/boolean.md). As in SQL, what compares a null is neither true nor false, and the
row is left out. Functions and arithmetic are not answered: they are refused by name.
"""

from __future__ import annotations

import ast
import json
import operator
import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from ops_pipelines.errors import UsageError
from ops_pipelines.policy.rowcolumns import DYNAMIC, Batch
from ops_pipelines.policy.vectors import CollectionSchema

_Answer = Callable[[Mapping[str, Any]], Any]
_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda value, items: value in items,
    ast.NotIn: lambda value, items: value not in items,
}
_TEXT = re.compile(r'("(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\')')
_WORDS = (
    (r"&&", " and "), (r"\|\|", " or "), (r"!(?!=)", " not "), (r"(?i)\bnull\b", "None"), (r"(?i)\btrue\b", "True"),
    (r"(?i)\bfalse\b", "False"), (r"(?i)\blike\b", "@"), (r"\$meta", "__meta__"),
)  # fmt: skip
_KEYWORDS = re.compile(r"\b(AND|OR|NOT|IN|IS)\b")


class RowFilter:
    """A filter, understood. Raises UsageError where it is not, or names a field that there is none of."""

    def __init__(self, text: str, schema: CollectionSchema) -> None:
        self.text = text
        self._schema = schema
        self._fields: set[str] = set()
        self._answer = self._of(self._parsed(text).body)

    def _parsed(self, text: str) -> ast.Expression:
        pieces = _TEXT.split(text)
        for place in range(0, len(pieces), 2):
            for found, instead in _WORDS:
                pieces[place] = re.sub(found, instead, pieces[place])
            pieces[place] = _KEYWORDS.sub(lambda word: word[0].lower(), pieces[place])
        try:
            return ast.parse("".join(pieces).strip(), mode="eval")
        except (SyntaxError, ValueError) as error:
            raise self._bad(f"it is not understood ({error.args[0]})") from error

    def mask(self, batch: Batch) -> Any:
        """For each row of a batch whether it is meant."""
        columns = {name: batch.column(name).to_pylist() for name in self._fields}
        for name, values in columns.items():
            if name == DYNAMIC or self._type(name) == "json":
                columns[name] = [None if value is None else json.loads(value) for value in values]
        rows = (
            dict(zip(columns, values, strict=True))
            for values in (zip(*columns.values(), strict=True) if columns else [()] * len(batch))
        )
        return np.fromiter((self._answer(row) is True for row in rows), np.bool_, len(batch))

    def _type(self, name: str) -> str:
        return next((field.type for field in self._schema.stored if field.name == name), "")

    def _of(self, node: ast.expr) -> _Answer:
        if isinstance(node, ast.BoolOp):
            return _joined([self._of(part) for part in node.values], all_of=isinstance(node.op, ast.And))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            inner = self._of(node.operand)
            return lambda row: None if (found := inner(row)) is None else not found
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
            return self._like(self._of(node.left), node.right)
        if isinstance(node, ast.Compare):
            return self._compared(node)
        if isinstance(node, ast.Name):
            return self._field(node.id)
        if isinstance(node, ast.Subscript):
            return _item(self._of(node.value), self._literal(node.slice))
        value = self._literal(node)
        return lambda row: value  # noqa: ARG005 - a literal hangs on no row

    def _field(self, name: str) -> _Answer:
        kind = self._type(name)
        if kind.endswith("_vector"):
            raise self._bad(f"{name} is a vector, which is compared by a search")
        if kind or (name == "__meta__" and self._schema.dynamic):
            column = DYNAMIC if name == "__meta__" else name
            self._fields.add(column)
            return lambda row: row[column]
        if not self._schema.dynamic:
            known = ", ".join(field.name for field in self._schema.stored)
            raise self._bad(f"there is no field {name} (there are: {known})")
        self._fields.add(DYNAMIC)
        return lambda row: (row[DYNAMIC] or {}).get(name)

    def _compared(self, node: ast.Compare) -> _Answer:
        sides = [self._of(side) for side in (node.left, *node.comparators)]
        parts = [self._pair(op, *pair) for op, pair in zip(node.ops, pairwise(sides), strict=True)]
        return parts[0] if len(parts) == 1 else _joined(parts, all_of=True)

    def _pair(self, op: ast.cmpop, left: _Answer, right: _Answer) -> _Answer:
        if isinstance(op, ast.Is | ast.IsNot):
            null = isinstance(op, ast.Is)
            return lambda row: (left(row) is None) == null
        compare = _COMPARE[type(op)]

        def answer(row: Mapping[str, Any]) -> bool | None:
            one, other = left(row), right(row)
            if one is None or other is None:
                return None
            try:
                return bool(compare(one, other))
            except TypeError:
                return None

        return answer

    def _like(self, value: _Answer, pattern: ast.expr) -> _Answer:
        text = self._literal(pattern)
        if not isinstance(text, str):
            raise self._bad("what follows `like` is no text")
        words = re.escape(text).replace("%", ".*").replace("_", ".")
        found = re.compile(words, re.DOTALL)
        return lambda row: found.fullmatch(value(row)) is not None if isinstance(value(row), str) else None

    def _literal(self, node: ast.expr) -> Any:
        try:
            return ast.literal_eval(node)
        except ValueError:
            raise self._bad(f"`{ast.unparse(node)}` is not answered here") from None

    def _bad(self, why: str) -> UsageError:
        return UsageError(
            f"the filter {self.text!r} cannot be used: {why}",
            remedy='compare fields with values: `year >= 2024 and lang in ["de", "fr"]`; or restore all rows',
        )


def _joined(parts: list[_Answer], *, all_of: bool) -> _Answer:
    """All, or any, of the parts; unknown where the known ones do not decide it."""

    def answer(row: Mapping[str, Any]) -> bool | None:
        unknown = False
        for part in parts:
            found = part(row)
            if found is None:
                unknown = True
            elif bool(found) is not all_of:
                return not all_of
        return None if unknown else all_of

    return answer


def _item(of: _Answer, key: Any) -> _Answer:
    def answer(row: Mapping[str, Any]) -> Any:
        try:
            return of(row)[key]
        except (TypeError, KeyError, IndexError):
            return None

    return answer
