"""Questions that a database answers the same after a restore: asked at backup, asked again of what was restored."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ops_pipelines.policy.plan import Finding

ROWS, BYTES = 100, 16_384
"""Largest answer that is kept: it stands in the manifest."""

Rows = Sequence[Sequence[Any]]


class AnswerTooLarge(ValueError):
    """An answer that is not kept."""


def plain(rows: Rows) -> list[list[Any]]:
    """An answer as JSON values; what is none is written as the text that a person would read."""
    return [
        [value if isinstance(value, None | bool | int | str) else str(value) for value in row] for row in rows
    ]


def kept(questions: Mapping[str, str], answers: Mapping[str, Rows | None]) -> dict[str, Any]:
    """Probes as a part's fact: the question and its answer; None where it had none that held still.

    Raises AnswerTooLarge."""
    found: dict[str, Any] = {}
    for name, sql in sorted(questions.items()):
        rows = answers.get(name)
        answer = None if rows is None else plain(rows)
        if answer is not None and (len(answer) > ROWS or len(json.dumps(answer)) > BYTES):
            raise AnswerTooLarge(f"the probe {name} brings more than {ROWS} rows or {BYTES} bytes")
        found[name] = {"sql": sql, "answer": answer}
    return found


def compared(subject: str, name: str, answer: Any, found: Rows) -> Finding:
    """What a restored database says to one probe, against what was kept."""
    where = f"{subject}: probe {name}"
    if answer is None:
        return Finding(
            where, None, "its answer changed while the backup was taken, so none was kept",
            "probe what holds still, or stop what writes while the backup runs", "warning",
        )  # fmt: skip
    now = plain(found)
    if now == answer:
        return Finding(where, True, f"answers as before ({len(now)} rows)")
    return Finding(
        where,
        False,
        f"answers {_short(now)}; it was {_short(answer)}",
        "restore another snapshot, or mend the probe",
    )


def _short(answer: Any) -> str:
    words = json.dumps(answer, ensure_ascii=False)
    return words if len(words) <= 200 else f"{words[:200]}…"
