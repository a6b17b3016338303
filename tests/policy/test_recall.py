"""Recall and its verdict."""

from __future__ import annotations

import pytest

from ops_pipelines.policy.recall import Recall, recall, recall_at_k, verdict


@pytest.mark.parametrize(
    ("expected", "got", "k", "share"),
    [
        (["a", "b"], ["a", "b"], 10, 1.0),
        (["a", "b"], ["b", "a"], 10, 1.0),
        (["a", "b"], ["a", "c"], 10, 0.5),
        (["a", "b"], [], 10, 0.0),
        ([1, 2, 3, 4], [9, 9, 1, 2], 2, 0.0),
        ([1, 2, 3, 4], [2, 1, 9, 9], 2, 1.0),
        (["1"], [1], 10, 0.0),
        ([], ["a"], 10, 1.0),
    ],
)
def test_recall_at_k(expected: list[str | int], got: list[str | int], k: int, share: float) -> None:
    assert recall_at_k(expected, got, k) == share


def test_the_mean_is_over_questions() -> None:
    measured = recall([["a", "b"], ["c", "d"]], [["a", "b"], ["c", "x"]])
    assert (measured.scores, measured.mean, measured.worst) == ((1.0, 0.5), 0.75, 0.5)
    with pytest.raises(ValueError, match="shorter"):
        recall([["a"], ["b"]], [["a"]])


@pytest.mark.parametrize(
    ("scores", "threshold", "ok", "said"),
    [
        ((1.0, 0.9), 0.95, True, "0.950 over 2 questions (worst 0.90"),
        ((1.0, 0.9), 0.96, False, "at least 0.96"),
        ((0.0,), 0.0, True, "1 question ("),
        ((), 0.0, None, "unknown"),
    ],
)
def test_verdict(scores: tuple[float, ...], threshold: float, ok: bool | None, said: str) -> None:
    finding = verdict(Recall(scores), threshold, "questions/docs")
    assert finding.ok is ok
    assert said in finding.message
    assert bool(finding.remedy) is (ok is not True)
