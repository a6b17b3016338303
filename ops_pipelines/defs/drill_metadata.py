"""What a drill found, as Dagster metadata: numbers that plot over time, and the last drills side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from ops_pipelines.defs.metadata import findings_metadata, table
from ops_pipelines.engines.drill import DrillReport
from ops_pipelines.policy.words import size_in_words, time_in_words

RTO, RPO = "RTO in seconds", "RPO in hours"
"""Names of the two time series. A value that is not known is left out: a gap, not a zero."""
_LAST = 14
_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Past:
    """One drill, as its materialization tells it."""

    at: float
    """Seconds since 1970."""
    snapshot: str
    verdict: str
    rto: float | None
    rpo: float | None


def drill_metadata(report: DrillReport, earlier: Sequence[Past], now: float) -> dict[str, Any]:
    """The metadata of one drill; `earlier` are those before it, newest first, `now` seconds since 1970."""
    hours = None if report.rpo is None else round(report.rpo / 3600, 4)
    this = Past(now, report.snapshot, report.verdict, report.rto, hours)
    numbers = {
        RTO: None if report.rto is None else round(report.rto, 3),
        RPO: hours,
        "hours between the newest two": None if report.interval is None else round(report.interval / 3600, 4),
        "recall@10": report.recall,
    }
    return {
        "snapshot": report.snapshot,
        "verdict": report.verdict,
        **{
            name: dg.MetadataValue.float(float(value)) for name, value in numbers.items() if value is not None
        },
        "questions asked": report.questions if report.recall is not None else 0,
        "age of the drilled snapshot in hours": round(report.age / 3600, 3),
        "seconds taken": round(report.seconds, 3),
        "size": size_in_words(report.size),
        "full": report.full,
        "last drills": dg.MetadataValue.md(history([this, *earlier])),
        "time of each part": table(
            {"part": one.part, "size": size_in_words(one.size), "seconds": round(one.seconds, 3)}
            for one in report.parts
        ),
        **findings_metadata(report.findings),
    }


def past_drills(instance: dg.DagsterInstance, key: dg.AssetKey) -> list[Past]:
    """The drills of a stack that Dagster remembers, newest first."""
    records = instance.fetch_materializations(key, limit=_LAST - 1).records
    found = []
    for record in records:
        event = record.asset_materialization
        if event is not None:
            found.append(_past(event.metadata, record.timestamp))
    return found


def _past(metadata: Mapping[str, Any], at: float) -> Past:
    def value(name: str) -> Any:
        entry = metadata.get(name)
        return None if entry is None else entry.value

    return Past(at, str(value("snapshot") or ""), str(value("verdict") or ""), value(RTO), value(RPO))


def history(drills: Sequence[Past]) -> str:
    """Markdown: a bar for each of the last drills, oldest first, and a table of them, newest first."""
    shown = list(drills[:_LAST])
    oldest_first = shown[::-1]
    lines = [
        f"RTO `{bars([one.rto for one in oldest_first])}`  RPO `{bars([one.rpo for one in oldest_first])}`",
        "",
        "| drill | snapshot | verdict | RTO | RPO |",
        "| --- | --- | --- | --- | --- |",
    ]
    for one in shown:
        rto = "unknown" if one.rto is None else time_in_words(one.rto)
        rpo = "unknown" if one.rpo is None else time_in_words(one.rpo * 3600)
        lines.append(
            f"| {datetime.fromtimestamp(one.at, UTC):%Y-%m-%d %H:%M} | {one.snapshot} | {one.verdict} | {rto} | {rpo} |"
        )
    return "\n".join(lines)


def bars(values: Sequence[float | None]) -> str:
    """One bar for each value, up to the largest; `?` for what is not known."""
    most = max((one for one in values if one is not None), default=0.0)
    top = len(_BARS) - 1
    return "".join("?" if one is None else _BARS[round(top * one / most) if most else 0] for one in values)
