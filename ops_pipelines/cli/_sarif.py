"""Findings of lint as SARIF 2.1.0, which code hosts and editors show beside the lines.

Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/sarif-v2.1.0-os.html
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ops_pipelines.policy.lint import RULES
from ops_pipelines.policy.lint_compose import COMPOSE_RULES, UNREADABLE
from ops_pipelines.policy.lint_kube import KUBE_RULES, KUBE_UNREADABLE, NOT_RENDERED
from ops_pipelines.policy.suppressions import RULES as SUPPRESSION_RULES
from ops_pipelines.wiring.linting import DECLARATION, Line

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {"error": "error", "warning": "warning", "info": "note"}


def sarif(lines: Sequence[Line]) -> dict[str, Any]:
    """One run with all findings; those that a comment sets aside are marked as suppressed in the source."""
    rules = _rules()
    index = {rule["id"]: number for number, rule in enumerate(rules)}
    driver = {"name": "ops-pipelines", "version": version("ops-pipelines"), "rules": rules}
    results = [_result(line, index[line.rule]) for line in lines]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _rules() -> list[dict[str, Any]]:
    told = [(DECLARATION, DECLARATION, "A stack file that cannot be loaded.")]
    told += [(rule.name, rule.name, rule.about) for rule in RULES]
    told += [(UNREADABLE, "unreadable", "A Compose file, or a part of it, that cannot be read.")]
    told += [(rule.code, rule.name, rule.about) for rule in COMPOSE_RULES]
    told += [(KUBE_UNREADABLE, "manifest-unreadable", "A manifest, or a part of it, that cannot be read.")]
    told += [(NOT_RENDERED, "chart-not-rendered", "A chart whose templates were read as text.")]
    told += [(rule.code, rule.name, rule.about) for rule in KUBE_RULES]
    told += [(code, "suppression", about) for code, about in SUPPRESSION_RULES.items()]
    return [{"id": code, "name": name, "shortDescription": {"text": about}} for code, name, about in told]


def _result(line: Line, index: int) -> dict[str, Any]:
    where = {
        "artifactLocation": {"uri": _uri(line.file)},
        "region": {"startLine": line.line, "startColumn": line.column},
    }
    logical = {"logicalLocations": [{"fullyQualifiedName": line.path}]} if line.path else {}
    result: dict[str, Any] = {
        "ruleId": line.rule,
        "ruleIndex": index,
        "level": _LEVELS[line.severity],
        "message": {"text": f"{line.found}; {line.breaks}; {line.remedy}"},
        "locations": [{"physicalLocation": where, **logical}],
    }
    if line.suppressed:
        result["suppressions"] = [{"kind": "inSource", "justification": line.suppressed}]
    return result


def _uri(file: str) -> str:
    path = Path(file)
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())
