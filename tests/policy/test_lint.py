"""Each lint rule, with a stack in which it finds its fault and the same stack with one fact put right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ops_pipelines.policy.links import link_problems
from ops_pipelines.policy.lint import RULES, SEVERITIES, lint_stack
from tests.policy.declared import GONE, declared
from tests.policy.lint_cases import CASES, Facts


def _found(rule: str, facts: Facts) -> list[tuple[str, str]]:
    stack = declared(facts)
    return [(one.found.path, one.found.severity) for one in lint_stack(stack) if one.rule == rule]


@pytest.mark.parametrize(
    ("rule", "stage", "wrong", "right", "path", "severity"),
    CASES,
    ids=[f"{index}-{row[0]}" for index, row in enumerate(CASES)],
)
def test_one_fact_makes_the_fault(
    rule: str, stage: Facts, wrong: Facts, right: Facts, path: str, severity: str
) -> None:
    assert (path, severity) in _found(rule, {**stage, **wrong})
    assert (path, severity) not in _found(rule, {**stage, **right})


def test_nothing_is_found_in_a_sound_stack() -> None:
    assert lint_stack(declared({})) == ()
    assert link_problems(declared({})) == ()


def test_every_rule_has_a_case_a_fault_and_a_story() -> None:
    assert {row[0] for row in CASES} == {rule.name for rule in RULES}
    assert len({rule.name for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule.faults
        assert all(1 <= number <= 32 for number in rule.faults)
        assert len(rule.about) > 30, rule.name


def test_the_worst_comes_first() -> None:
    found = lint_stack(
        declared({"models.chat.digest": GONE, "components.redis.image": "redis", "backup": None})
    )
    order = [SEVERITIES.index(one.found.severity) for one in found]
    assert order == sorted(order)
    assert set(order) == {0, 1, 2}


def test_a_secret_or_password_is_never_repeated() -> None:
    facts = {
        "components.milvus.environment": {"USER": "minioadmin"},
        "components.redis.command": ["--user=changeme"],
    }
    assert not re.search("minioadmin|changeme", str(lint_stack(declared(facts))))


def test_the_reference_page_names_every_rule() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/lint.md").read_text(encoding="utf-8")
    for rule in RULES:
        assert f"`{rule.name}`" in page, rule.name
        for number in rule.faults:
            assert re.search(rf"^\| {number} \|.*`{rule.name}`", page, re.MULTILINE), (rule.name, number)
