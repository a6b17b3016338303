"""Comments that set findings aside, and what the command line makes of them; SARIF."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ops_pipelines.policy.suppressions import suppressions
from tests.cli.run import CommandLine

FLOATS = "services:\n  a:\n    image: x:latest{same}\n"
WHY = "# ops-lint: ignore OPS-C201 because it is built here"

# What SARIF 2.1.0 requires of the objects that are written, as its published schema says it (`required`, `enum`,
# `minimum`): https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json
_TEXT = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string", "minLength": 1}}}
_REGION = {"startLine": {"type": "integer", "minimum": 1}, "startColumn": {"type": "integer", "minimum": 1}}
_RESULT = {
    "type": "object",
    "required": ["message"],
    "properties": {
        "ruleId": {"type": "string"},
        "ruleIndex": {"type": "integer", "minimum": -1},
        "level": {"enum": ["none", "note", "warning", "error"]},
        "message": _TEXT,
        "locations": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "physicalLocation": {
                        "type": "object",
                        "required": ["artifactLocation"],
                        "properties": {
                            "artifactLocation": {
                                "properties": {"uri": {"type": "string", "format": "uri-reference"}}
                            },
                            "region": {"type": "object", "properties": _REGION},
                        },
                    },
                },
            },
        },
        "suppressions": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["kind"],
                "properties": {"kind": {"enum": ["inSource", "external"]}},
            },
        },
    },
}
_RULE = {
    "type": "object",
    "required": ["id"],
    "properties": {"id": {"type": "string"}, "shortDescription": _TEXT},
}
_DRIVER = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string"},
        "rules": {"type": "array", "uniqueItems": True, "items": _RULE},
    },
}
_RUN = {
    "type": "object",
    "required": ["tool"],
    "properties": {
        "tool": {"type": "object", "required": ["driver"], "properties": {"driver": _DRIVER}},
        "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
        "results": {"type": "array", "items": _RESULT},
    },
}
SARIF: dict[str, Any] = {
    "type": "object",
    "required": ["version", "runs"],
    "properties": {
        "$schema": {"type": "string", "format": "uri"},
        "version": {"enum": ["2.1.0"]},
        "runs": {"type": "array", "minItems": 0, "items": _RUN},
    },
    "additionalProperties": False,
}


def _file(folder: Path, text: str) -> Path:
    file = folder / "compose.yaml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    "text",
    [
        FLOATS.format(same=f" {WHY}"),
        FLOATS.format(same="").replace("    image", f"    {WHY}\n    image"),
        FLOATS.format(same="").replace("    image", f"    {WHY}\n    # and more\n\n    image"),
        FLOATS.format(same=f" {WHY.replace('OPS-C201', 'OPS-C202, OPS-C201')}"),
    ],
)
def test_a_comment_with_a_reason_sets_a_finding_aside(text: str, ops: CommandLine, tmp_path: Path) -> None:
    file = _file(tmp_path, text)
    answer = ops("lint", file, "--json")
    (aside,) = answer.document["suppressed"]
    assert (aside["rule"], aside["suppressed"]) == ("OPS-C201", "it is built here")
    assert (answer.code, answer.document["good"]) == (0, True)
    shown = ops("lint", file)
    assert "1 suppressed" in shown.out
    assert "OPS-C201" not in shown.out


@pytest.mark.parametrize(
    ("comment", "rule", "severity"),
    [
        ("# ops-lint: ignore OPS-C201", "OPS-S001", "error"),
        ("# ops-lint: ignore OPS-C201 because ", "OPS-S001", "error"),
        ("# ops-lint: ignore because it is so", "OPS-S001", "error"),
        ("# ops-lint: ignore", "OPS-S001", "error"),
        ("# ops-lint: ignore OPS-C999 because it is so", "OPS-S002", "warning"),
        ("# ops-lint: ignore OPS-C306 because it is so", "OPS-S003", "info"),
    ],
)
def test_a_comment_that_sets_nothing_aside_is_a_finding(
    comment: str, rule: str, severity: str, ops: CommandLine, tmp_path: Path
) -> None:
    answer = ops("lint", _file(tmp_path, FLOATS.format(same=f" {comment}")), "--json")
    found = {one["rule"]: one for one in answer.document["findings"]}
    assert answer.code == 1
    assert "OPS-C201" in found
    assert (found[rule]["severity"], found[rule]["line"]) == (severity, 3)
    assert answer.document["suppressed"] == []


def test_rules_on_stack_files_are_set_aside_by_name(ops: CommandLine, tmp_path: Path) -> None:
    text = (
        "stack: a\ndescription: A stack.\nowners: ['team:platform']\n"
        "target: {kind: compose, project: a}\ncomponents:\n  web:\n    kind: app\n"
        "    image: x:latest # ops-lint: ignore image-floats because it is built here\n"
    )
    file = tmp_path / "a.stack.yaml"
    file.write_text(text, encoding="utf-8")
    answer = ops("lint", file, "--json").document
    assert [one["rule"] for one in answer["suppressed"]] == ["image-floats"], answer
    assert "image-floats" not in {one["rule"] for one in answer["findings"]}


def test_a_comment_holds_for_its_own_line_only() -> None:
    (one,) = suppressions(f"a\nb {WHY}\nc\n")
    assert (one.line, one.covers, one.reason) == (2, frozenset({2}), "it is built here")
    assert one.holds("OPS-C201", 2)
    assert not one.holds("OPS-C201", 3)
    assert not one.holds("OPS-C202", 2)


def test_sarif_is_what_its_schema_asks_for(ops: CommandLine, tmp_path: Path) -> None:
    file = _file(tmp_path, FLOATS.format(same=f" {WHY}") + "    security_opt: [seccomp:unconfined]\n")
    answer = ops("lint", file, "--format", "sarif")
    assert answer.code == 1
    log = json.loads(answer.out)
    jsonschema.Draft202012Validator(SARIF).validate(log)
    (run,) = log["runs"]
    results = {one["ruleId"]: one for one in run["results"]}
    rules = run["tool"]["driver"]["rules"]
    assert all(rules[one["ruleIndex"]]["id"] == one["ruleId"] for one in run["results"])
    assert results["OPS-C201"]["suppressions"] == [{"kind": "inSource", "justification": "it is built here"}]
    (place,) = results["OPS-C306"]["locations"]
    assert place["physicalLocation"]["region"] == {"startLine": 4, "startColumn": 20}
    assert place["physicalLocation"]["artifactLocation"]["uri"] == file.as_uri()
    assert "suppressions" not in results["OPS-C306"]


def test_a_folder_of_compose_files_needs_no_stack(ops: CommandLine, tmp_path: Path) -> None:
    for name in ("a/b/any.yml", "docker-compose.yaml", ".hidden/compose.yaml", "node_modules/x/compose.yaml"):
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / name).write_text(FLOATS.format(same=""), encoding="utf-8")
    (tmp_path / "mine/values.yaml").write_text("a: {services: 1}\n", encoding="utf-8")
    found = ops("lint", tmp_path / "mine", "--json").document["findings"]
    named = {
        Path(one["file"]).relative_to(tmp_path / "mine").as_posix()
        for one in found
        if one["severity"] == "error"
    }
    assert named == {"a/b/any.yml", "docker-compose.yaml"}


def test_a_comment_without_a_reason_holds_for_nothing() -> None:
    (one,) = suppressions("b # ops-lint: ignore OPS-C201\n")
    assert not one.holds("OPS-C201", 1)
