"""The charts of helm/: what their values may be, from one description (helm/ops-stack/schema/values.yaml).

`python -m tools.reference` writes each chart's values.schema.json and docs/reference/charts.md with it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
CHARTS = ROOT / "helm"
LIBRARY = CHARTS / "ops-stack"

_HEAD = """# Values of the charts

Every stack's chart under `helm/` is made of its values by the library chart `helm/ops-stack`, so all have the same
ones. A chart's `values.yaml` says what the stack is; its other value files say what it is on some hardware or in
production. An unknown key is refused (`values.schema.json`), and so is, with words, a combination that could not work.

| chart | components | value files |
| --- | --- | --- |"""


def stack_charts() -> tuple[Path, ...]:
    """Folders of the charts that stand on the library."""
    return tuple(sorted(one.parent.parent for one in CHARTS.glob("*/charts/ops-stack")))


def value_files(chart: Path) -> tuple[str, ...]:
    """Names of a chart's value files besides its values.yaml."""
    return tuple(sorted(one.name for one in chart.glob("values-*.yaml")))


def schema(chart: Path) -> str:
    """A chart's values.schema.json: that of all charts, with the chart's own components."""
    whole: dict[str, Any] = copy.deepcopy(_described())
    more = _read(chart / "schema.yaml") if (chart / "schema.yaml").is_file() else {}
    whole["$defs"]["component"]["properties"].update(more.get("component", {}))
    whole["properties"].update(more.get("values", {}))
    components = whole["properties"]["components"]
    components["additionalProperties"] = False
    components["properties"] = {name: {"$ref": "#/$defs/component"} for name in _components(chart)}
    return json.dumps({"title": f"Values of {chart.name}", **_nullable(whole)}, indent=1) + "\n"


def _nullable(node: Any) -> Any:
    """The same, where every property may be null, by which a value file takes away what one before it has said."""
    if isinstance(node, list):
        return [_nullable(one) for one in node]
    if not isinstance(node, dict):
        return node
    found = {key: _nullable(one) for key, one in node.items()}
    if isinstance(found.get("properties"), dict):
        found["properties"] = {key: _or_null(one) for key, one in found["properties"].items()}
    return found


def _or_null(one: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in one:
        words = {key: value for key, value in one.items() if key != "$ref"}
        return {**words, "anyOf": [{"$ref": one["$ref"]}, {"type": "null"}]}
    if "enum" in one:
        return {**one, "enum": [*one["enum"], None]}
    kinds = one.get("type", [])
    kinds = kinds if isinstance(kinds, list) else [kinds]
    return {**one, "type": [*kinds, "null"]} if kinds and "null" not in kinds else one


def reference() -> str:
    """docs/reference/charts.md."""
    lines = [_HEAD]
    for chart in stack_charts():
        files = ", ".join(f"`{name}`" for name in value_files(chart))
        lines.append(f"| `{chart.name}` | {', '.join(_components(chart))} | {files} |")
    described = _described()
    component = described["$defs"]["component"]
    lines += ["", "## Of the release", "", "| key | meaning |", "| --- | --- |"]
    lines += [
        f"| `{key}` | {words} |" for key, words in _keys(described, described, "") if key != "components"
    ]
    lines += [
        "",
        "## Of a component",
        "",
        "Each stands under `components.NAME`.",
        "",
        "| key | meaning |",
        "| --- | --- |",
    ]
    lines += [f"| `{key}` | {words} |" for key, words in _keys(component, described, "")]
    return "\n".join(lines) + "\n"


def _keys(node: Mapping[str, Any], whole: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    for name, one in node.get("properties", {}).items():
        if one.get("description") == "Helm's own.":
            continue
        key = f"{path}{name}"
        yield key, _words(one, whole)
        inner = _resolved(one, whole)
        yield from _keys(inner, whole, f"{key}.")
        for each, mark in ((inner.get("additionalProperties"), "NAME"), (inner.get("items"), "[]")):
            if isinstance(each, dict):
                yield from _keys(
                    _resolved(each, whole), whole, f"{key}.{mark}." if mark == "NAME" else f"{key}[]."
                )


def _words(one: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    words = str(one.get("description") or _resolved(one, whole).get("description", "")).replace("|", "\\|")
    choices = [f"`{each}`" for each in one.get("enum", []) if each and f"`{each}`" not in words]
    return f"{words} One of {', '.join(choices)}." if choices else words


def _resolved(one: Mapping[str, Any], whole: Mapping[str, Any]) -> Mapping[str, Any]:
    name = str(one.get("$ref", "")).rpartition("/")[2]
    return whole["$defs"][name] if name else one


def _components(chart: Path) -> list[str]:
    return list(_read(chart / "values.yaml")["components"])


def _described() -> dict[str, Any]:
    return _read(LIBRARY / "schema" / "values.yaml")


def _read(file: Path) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return read
