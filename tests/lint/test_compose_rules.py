"""Each rule on Compose files, with a file in which it finds its fault and the same file put right."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops_pipelines.policy.lint_compose import COMPOSE_RULES, GROUPS, UNREADABLE, ComposeFinding, lint_compose
from ops_pipelines.stack.compose_file import Document, is_compose, parse, read_compose
from ops_pipelines.wiring.lint_files import units_below
from ops_pipelines.wiring.linting import Line, lint_compose_file
from tests.lint.compose_cases import CASES


def _none(_asking: str, _name: str) -> Document | None:
    return None


def _lint(text: str) -> tuple[ComposeFinding, ...]:
    return lint_compose(read_compose(text.encode(), "compose.yaml", _none))


def _found(code: str, text: str) -> list[tuple[int, str]]:
    return [(one.hit.at.line, one.hit.severity) for one in _lint(text) if one.code == code]


@pytest.mark.parametrize(
    ("code", "text", "wrong", "right", "line", "severity"),
    CASES,
    ids=[f"{number}-{row[0]}" for number, row in enumerate(CASES)],
)
def test_one_text_makes_the_fault(
    code: str, text: str, wrong: str, right: str, line: int, severity: str
) -> None:
    assert text.count(wrong) >= 1
    assert (line, severity) in _found(code, text)
    mended = text.replace(wrong, right)
    assert not _found(code, mended)
    assert UNREADABLE not in {one.code for one in _lint(mended)}


def test_every_rule_has_a_case_a_code_of_its_own_a_fault_and_a_story() -> None:
    codes = [rule.code for rule in COMPOSE_RULES]
    assert {row[0] for row in CASES} == set(codes)
    assert len(set(codes)) == len(codes)
    assert len({rule.name for rule in COMPOSE_RULES}) == len(codes)
    for number, (_, rules) in enumerate(GROUPS.values(), start=1):
        assert all(rule.code.startswith(f"OPS-C{number}") for rule in rules)
    for rule in COMPOSE_RULES:
        assert rule.faults
        assert all(1 <= fault <= 32 for fault in rule.faults)
        assert len(rule.about) > 30, rule.code


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("services:\n  a: [\n", 3, "syntax"),
        ("services:\n  a:\n    image: x:1\n    image: y:2\n", 4, "twice"),
        ("services:\n  a: nothing\n", 2, "without keys"),
        ("services:\n", 1, "without services"),
        ("services:\n  a:\n    extends: {file: gone.yaml, service: b}\n", 3, "cannot be read"),
        ("services:\n  a:\n    extends: {service: b}\n", 3, "not in this file"),
        ("services:\n  a:\n    extends: b\n  b:\n    extends: a\n", 3, "back to itself"),
        ("services: {a: {image: x:1.0.0}}\n---\nb: c\n", 2, "second document"),
        ("services:\n\ta:\n", 2, "tab"),
        ("a: &a\n  b: *a\nservices: {a: {image: x}}\n", 1, "anchor that holds itself"),
    ],
)
def test_what_cannot_be_read_is_a_finding(text: str, line: int, words: str) -> None:
    found = [one.hit for one in _lint(text) if one.code == UNREADABLE]
    assert any(words in hit.found and hit.severity == "error" for hit in found), found
    assert any(abs(hit.at.line - line) <= 1 for hit in found)


_ODD = [
    "",
    "null",
    "1",
    "true",
    "[]",
    "{}",
    "[[]]",
    "[{}]",
    "{a: }",
    "[null]",
    "[{a: []}]",
    "{a: {b: [c]}}",
    "'${'",
    "'a:b:c:d:e'",
]
_KEYS = [
    "image", "build", "ports", "volumes", "environment", "env_file", "depends_on", "networks", "secrets", "configs",
    "command", "entrypoint", "healthcheck", "deploy", "scale", "container_name", "profiles", "extends", "cap_add",
    "security_opt", "privileged", "tmpfs", "logging", "restart", "gpus", "runtime", "mem_limit",
]  # fmt: skip


@pytest.mark.parametrize("key", _KEYS)
def test_no_value_of_any_key_ends_in_a_crash(key: str) -> None:
    for odd in _ODD:
        for image in ("vllm/vllm-openai:v0.11.0", "ollama/ollama", "langfuse/langfuse:3", "redis:7"):
            text = (
                f"services:\n  a:\n    image: {image}\n    {key}: {odd}\n  b: {{extends: a, {key}: {odd}}}\n"
            )
            _lint(text if key != "image" else f"services:\n  a:\n    image: {odd}\n")


_BELOW = (
    "healthcheck: {test: %s}", "healthcheck: {interval: %s}", "deploy: {resources: %s}", "deploy: {replicas: %s}",
    "deploy: {resources: {reservations: {devices: [%s]}}}", "logging: {options: %s}", "ports: [%s]", "volumes: [%s]",
    "environment: {HF_HOME: %s}",
)  # fmt: skip


@pytest.mark.parametrize("odd", _ODD)
def test_no_value_below_healthcheck_deploy_or_the_top_ends_in_a_crash(odd: str) -> None:
    for path in _BELOW:
        _lint(f"services:\n  a:\n    image: vllm/vllm-openai\n    {path % odd}\n")
    for top in ("volumes", "networks", "secrets", "services", "include", "version"):
        _lint(f"{top}: {odd}\n" + ("" if top == "services" else "services: {a: {image: x}}\n"))


def test_a_stack_file_is_no_compose_file() -> None:
    assert is_compose(b"name: x\nservices:\n  a: {}\n")
    assert not is_compose(b"stack: x\nservices: {}\n")
    assert not is_compose(b"x:\n  services: {}\n")


def test_a_file_is_known_by_its_name_or_what_it_holds(tmp_path: Path) -> None:
    files = {
        "marked.yaml": "\ufeffservices:\n  a: {image: 'x:1.0.0'}\n",
        "windows.yml": "name: x\r\nservices:\r\n  a: {image: 'x:1.0.0'}\r\n",
        "compose.yaml": "name: x\n",
        "docker-compose.yml": "include: [a.yaml]\n",
        "values.yaml": "image: x\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_bytes(text.encode())
    named = {one.file.name for one in units_below(tmp_path) if one.kind == "compose"}
    assert named == {*files} - {"values.yaml"}
    assert {name for name in named if _errors(tmp_path / name)} == {"compose.yaml"}


def test_services_of_different_profiles_share_neither_port_nor_card() -> None:
    text = (
        "services:\n  a: {image: x:1.0.0, profiles: [one], ports: ['127.0.0.1:80:80']}\n"
        "  b: {image: x:1.0.0, profiles: [two], ports: ['127.0.0.1:80:80']}\n"
    )
    assert not _found("OPS-C104", text)
    assert _found("OPS-C104", text.replace("[two]", "[one]"))


def test_what_another_file_may_hold_is_not_asked_of_one_that_is_laid_over() -> None:
    text = "services:\n  a:\n    environment: {A: b}\n    volumes: [data:/data]\n    depends_on: [db]\n"
    assert {one.code for one in _lint(text)} == {"OPS-C110"}


def test_tags_of_compose_are_understood() -> None:
    text = "services:\n  a:\n    image: x:1.0.0\n    ports: !reset []\n    volumes: !override ['./a:/a']\n"
    assert UNREADABLE not in {one.code for one in _lint(text)}


def test_the_tree_is_read_once_for_what_an_alias_names() -> None:
    document = parse(b"x: &x {image: 'a:1.0.0'}\nservices: {a: *x, b: {<<: *x, mem_limit: 1g}}\n", "f")
    assert document.complete


def test_what_overrides_replaces_what_it_extends() -> None:
    text = (
        "services:\n  a: {image: 'x:1.0.0', ports: ['127.0.0.1:80:80']}\n"
        "  b: {extends: {service: a}, ports: TAG['127.0.0.1:81:80']}\n"
    )
    assert _found("OPS-C104", text.replace("TAG", ""))
    assert not _found("OPS-C104", text.replace("TAG", "!override "))


def test_a_service_that_is_reset_is_not_missed() -> None:
    text = "services:\n  a: !reset null\n  b: {image: 'x:1.0.0', volumes: ['data:/data']}\n"
    assert {one.hit.severity for one in _lint(text)} <= {"info"}
    assert _found("OPS-C100", text.replace("!reset ", ""))


def test_a_file_beside_the_one_that_it_overrides_is_not_asked_for_names(tmp_path: Path) -> None:
    for name in ("compose.yaml", "compose.gpu.yaml"):
        text = "services: {a: {image: 'x:1.0.0', volumes: ['data:/data']}}\n"
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert [line.rule for line in _errors(tmp_path / "compose.yaml")] == ["OPS-C105"]
    assert _errors(tmp_path / "compose.gpu.yaml") == []


def _errors(file: Path) -> list[Line]:
    return [line for line in lint_compose_file(file) if line.severity == "error"]
