"""What the engines found, as Dagster metadata: tables, numbers that plot, bytes in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

from ops_pipelines.engines.snapshots import SnapshotInfo
from ops_pipelines.errors import OpsError
from ops_pipelines.policy.bluegreen import Watched, rows
from ops_pipelines.policy.plan import Finding, Plan
from ops_pipelines.policy.words import size_in_words
from ops_pipelines.wiring.snapshots import state_in_words

_SHOWN = 30
_MARKS = {True: "good", False: "BAD", None: "unknown"}


def table(rows: Iterable[Mapping[str, Any]]) -> dg.MetadataValue:
    """Rows with the same keys as a table; without any, a line that says so."""
    records = [
        dg.TableRecord({key: "" if value is None else value for key, value in row.items()}) for row in rows
    ]
    if not records:
        return dg.MetadataValue.text("none")
    return dg.MetadataValue.table(records=records)


def snapshots_table(found: Sequence[SnapshotInfo]) -> dg.MetadataValue:
    """The newest snapshots, with what is known of each and which are pinned."""
    return table(
        {
            "snapshot": one.id,
            "size": "" if one.size is None else size_in_words(one.size),
            "state": state_in_words(one),
        }
        for one in found[:_SHOWN]
    )


def plan_metadata(plan: Plan) -> dict[str, dg.MetadataValue]:
    """A plan: its steps as a table, how much would move, what to know before."""
    rows = [
        {"action": step.verb, "what": step.subject, "moves": _moved(step.size), "detail": step.detail}
        for step in plan.steps
    ]
    found = {
        "plan": table(rows),
        "changes": dg.MetadataValue.int(len(plan.changes)),
        "bytes to move": dg.MetadataValue.int(sum(step.size for step in plan.steps)),
    }
    if plan.warnings:
        found["warnings"] = dg.MetadataValue.md("\n".join(f"- {warning}" for warning in plan.warnings))
    return found


def _moved(size: int) -> str:
    # A cell is narrow: the number and its unit stay together.
    return size_in_words(size).replace(" ", "\u00a0") if size else ""


def plan_text(plan: Plan) -> str:
    """A plan as lines for a run's log."""
    steps = [
        f"  {step.verb:8} {step.subject}  {step.detail}"
        + (f"  ({size_in_words(step.size)})" if step.size else "")
        for step in plan.steps
    ]
    notes = [f"  ! {warning}" for warning in plan.warnings]
    return "\n".join([plan.title, *(steps or ["  nothing would change"]), *notes])


def findings_metadata(findings: Sequence[Finding]) -> dict[str, dg.MetadataValue]:
    """Findings as a table, the bad ones first."""
    order = {False: 0, None: 1, True: 2}
    rows = [
        {
            "what": finding.subject,
            "state": _MARKS[finding.ok],
            "found": finding.message,
            "what to do": finding.remedy,
        }
        for finding in sorted(findings, key=lambda one: order[one.ok])
    ]
    return {"findings": table(rows)}


def watched_metadata(watched: Sequence[Watched]) -> dict[str, dg.MetadataValue]:
    """What was seen of new versions that had the traffic, and what was concluded; nothing where none had."""
    if not watched:
        return {}
    words = "\n".join(f"- {one.component}: {one.judgement.reason}" for one in watched)
    return {"traffic": dg.MetadataValue.md(words), "readings": table(rows(watched)[-_SHOWN:])}


def check_result(
    key: dg.AssetKey, name: str, findings: Sequence[Finding], **metadata: dg.MetadataValue
) -> dg.AssetCheckResult:
    """One check from findings: passed only where each of them is good, or a mere note. Unknown does not pass."""
    bad = [finding for finding in findings if finding.ok is not True]
    errors = [finding for finding in bad if finding.severity == "error"]
    described = "; ".join(f"{finding.subject}: {finding.message}" for finding in bad[:3])
    return dg.AssetCheckResult(
        passed=all(finding.ok is False and finding.severity == "info" for finding in bad),
        asset_key=key,
        check_name=name,
        severity=dg.AssetCheckSeverity.ERROR if errors else dg.AssetCheckSeverity.WARN,
        description=described or f"{len(findings)} looked at, all good",
        metadata={**findings_metadata(findings), **metadata},
    )


def unknown_check(key: dg.AssetKey, name: str, error: OpsError) -> dg.AssetCheckResult:
    """A check that could not be made: it has not passed."""
    return check_result(key, name, [Finding(name, None, error.message, error.remedy)])


def failure(error: OpsError) -> dg.Failure:
    """An error as Dagster's failure: what was found, what to do, no retry that would only repeat it."""
    return dg.Failure(
        description=str(error),
        metadata={"what to do": dg.MetadataValue.text(error.remedy)} if error.remedy else {},
        allow_retries=False,
    )
