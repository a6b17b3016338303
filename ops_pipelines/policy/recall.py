"""Does a restored stack answer as before: the share of the kept nearest keys that come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ops_pipelines.policy.plan import Finding

Key = str | int


def recall_at_k(expected: Sequence[Key], got: Sequence[Key], k: int = 10) -> float:
    """Share of the first `k` expected keys among the first `k` that came (0 to 1). None expected: 1.0.

    Order inside the first `k` does not count: near-equal distances change places for no reason.
    """
    wanted = set(expected[:k])
    return len(wanted & set(got[:k])) / len(wanted) if wanted else 1.0


@dataclass(frozen=True)
class Recall:
    """Recall of several questions."""

    scores: tuple[float, ...]
    """For each question."""

    @property
    def mean(self) -> float | None:
        """Mean over the questions; None where none was asked: never 1, never 0."""
        return sum(self.scores) / len(self.scores) if self.scores else None

    @property
    def worst(self) -> float | None:
        """The lowest score."""
        return min(self.scores, default=None)


def recall(expected: Sequence[Sequence[Key]], got: Sequence[Sequence[Key]], k: int = 10) -> Recall:
    """Recall of each question. Raises ValueError where there are not as many answers as questions."""
    return Recall(tuple(recall_at_k(e, g, k) for e, g in zip(expected, got, strict=True)))


def verdict(measured: Recall, threshold: float, subject: str, k: int = 10) -> Finding:
    """Good at or over the threshold, bad under it, unknown where nothing was asked."""
    mean, worst = measured.mean, measured.worst
    if mean is None or worst is None:
        return Finding(
            subject,
            None,
            "no questions were kept at backup, so it is unknown whether it answers as before",
            "declare `drill.questions`, or have texts in the collection, and take a new backup",
        )
    count = len(measured.scores)
    asked = f"{count} question{'s' if count != 1 else ''}"
    return Finding(
        subject,
        mean >= threshold,
        f"recall@{k} is {mean:.3f} over {asked} (worst {worst:.2f}; at least {threshold:g} is wanted)",
        ""
        if mean >= threshold
        else "compare the model's revision and the collection's index and metric with those of the snapshot; "
        "the bound is `drill.recall_at_10`",
    )
