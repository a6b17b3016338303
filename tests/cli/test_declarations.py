"""`stacks`, `schema` and `lint`: what they print, where, and how they end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.run import CommandLine

ROOT = Path(__file__).parents[2]
SOUND = """\
stack: {name}
description: A stack.
owners: ["team:platform"]
target: {{kind: process}}
components:
  web: {{kind: app, command: [web], ports: {{http: 8000}}}}
"""
FORMS = """\
stack: forms
description: A stack in two forms.
owners: ["team:platform"]
profile: local
profiles:
  local:
    target: {kind: process}
    components:
      web: {kind: app, command: [web], ports: {http: 8000}}
  cluster:
    target: {kind: kubernetes, context: "${CONTEXT}", namespace: a, release: a, chart: a}
    components:
      ollama:
        kind: ollama
        image: ollama/ollama:latest
        ports: {http: 11434}
"""


def _write(folder: Path, name: str, text: str) -> Path:
    path = folder / "deploy" / name / "stack.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def test_stacks_lists_what_is_declared(ops: CommandLine, tmp_path: Path) -> None:
    _write(tmp_path, "a", SOUND.format(name="a"))
    _write(tmp_path, "forms", FORMS)
    answer = ops("stacks")
    assert answer.code == 0
    assert "a" in answer.out
    assert "local, cluster" in answer.out
    assert answer.err == ""
    chosen = ops("stacks", "--json", environ={"OPS_PROFILES": "forms=cluster", "CONTEXT": "k3s"})
    rows = {row["stack"]: row for row in chosen.document["stacks"]}
    assert (rows["forms"]["target"], rows["forms"]["supported"]) == ("kubernetes", False)
    assert (rows["a"]["profile"], rows["a"]["owners"], rows["a"]["supported"]) == (
        None,
        ["team:platform"],
        True,
    )


def test_a_broken_stack_is_shown_with_its_place_and_the_others_too(ops: CommandLine, tmp_path: Path) -> None:
    _write(tmp_path, "a", SOUND.format(name="a"))
    _write(tmp_path, "b", SOUND.format(name="b") + "    depends_on: [db]\nsmoke: {model: chat}\n")
    broken = _write(tmp_path, "c", SOUND.format(name="c") + "smoke: {model: chat}\n")
    answer = ops("stacks")
    assert answer.code == 1
    assert f"{broken}:7:16: smoke.model: no model `chat`" in answer.out
    document = ops("stacks", "--json").document
    assert [row["stack"] for row in document["stacks"]] == ["a"]
    assert [row["stack"] for row in document["broken"]] == ["b", "c"]


def test_a_stack_with_a_broken_link_cannot_be_acted_on(ops: CommandLine, tmp_path: Path) -> None:
    _write(tmp_path, "a", SOUND.format(name="a") + "smoke: {model: chat}\n")
    answer = ops("plan", "a", "--json")
    assert answer.code == 1
    assert answer.document["error"] == "DeclarationError"
    assert "smoke.model" in answer.document["problems"][0]
    assert "smoke.model" in answer.err


def test_another_profile_with_a_broken_link_is_refused_too(ops: CommandLine, tmp_path: Path) -> None:
    _write(tmp_path, "a", SOUND.format(name="a") + "profiles: {bad: {smoke: {model: chat}}}\n")
    assert ops("stacks").code == 0
    answer = ops("plan", "a", "--profile", "bad")
    assert answer.code == 1
    assert "smoke.model" in answer.err


def test_a_plan_whose_chart_is_not_there_names_the_profile_that_runs_here(
    ops: CommandLine, tmp_path: Path
) -> None:
    _write(tmp_path, "forms", FORMS)
    answer = ops("plan", "forms", "--profile", "cluster", environ={"CONTEXT": "k3s"})
    assert "component/ollama" in answer.out
    assert "its chart and files are not there: " in answer.out
    assert "deploy it with --profile local\n" in answer.out
    assert "Traceback" not in answer.err


def test_no_stack_at_all(ops: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    answer = ops("stacks")
    assert (answer.code, answer.out) == (0, f"no stack is declared in {tmp_path / 'deploy'}\n")


@pytest.mark.parametrize("words", [["stakcs"], ["lint", "--severity", "fatal"], ["plan"], ["plan", "nobody"]])
def test_misuse_ends_with_two(words: list[str], ops: CommandLine) -> None:
    answer = ops(*words)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err


def test_the_published_schema_is_up_to_date(ops: CommandLine) -> None:
    answer = ops("schema")
    assert answer.code == 0
    published = (ROOT / "docs/reference/stack.schema.json").read_text(encoding="utf-8")
    assert answer.document == json.loads(published), (
        "write it anew: ops-pipelines schema > docs/reference/stack.schema.json"
    )


def test_the_stacks_of_this_repository_lint_without_errors(ops: CommandLine) -> None:
    answer = ops("lint", ROOT / "deploy", "--json")
    errors = [one for one in answer.document["findings"] if one["severity"] == "error"]
    assert (answer.code, errors) == (0, [])


def test_lint_looks_at_every_profile(ops: CommandLine, tmp_path: Path) -> None:
    path = _write(tmp_path, "forms", FORMS)
    answer = ops("lint")
    assert answer.code == 1
    assert "error: deploy/forms/stack.yaml:15:16: components.ollama.image: the tag `latest`" in answer.out
    assert "(image-floats) [cluster]" in answer.out
    assert answer.out.endswith("1 errors, 0 warnings, 1 remarks (--severity info shows them)\n")
    assert answer.err == ""
    (worst, unset) = ops("lint", path, "--json").document["findings"]
    assert (worst["rule"], worst["line"], worst["profiles"]) == ("image-floats", 15, ["cluster"])
    assert (unset["severity"], unset["line"]) == ("info", 11)
    assert "CONTEXT" in unset["found"]


def test_the_severity_decides_how_lint_ends(ops: CommandLine, tmp_path: Path) -> None:
    path = _write(
        tmp_path, "a", SOUND.format(name="a") + "caches: {models: {layout: ollama, path: /tmp/m}}\n"
    )
    found = {one["rule"]: one["severity"] for one in ops("lint", path, "--json").document["findings"]}
    assert found == {"no-backup": "warning", "cache-forgotten": "info"}
    assert [ops("lint", path, "--severity", each).code for each in ("error", "warning", "info")] == [0, 1, 1]
    clean = _write(tmp_path, "b", SOUND.format(name="b"))
    assert [ops("lint", clean, "--severity", each).code for each in ("error", "warning", "info")] == [0, 0, 0]
    assert "nothing was found" in ops("lint", clean).out


def test_lint_tells_all_that_is_wrong_with_a_file_that_cannot_be_loaded(
    ops: CommandLine, tmp_path: Path
) -> None:
    text = SOUND.format(name="a").replace("kind: app", "kind: apl") + "ownersh: []\nbackup: {bucket: B}\n"
    path = _write(tmp_path, "a", text)
    answer = ops("lint", path, "--json")
    assert answer.code == 1
    places = {(one["line"], one["path"]) for one in answer.document["findings"]}
    assert places == {(6, "components.web.kind"), (7, "ownersh"), (8, "backup.bucket")}
    path.write_text("stack: [\n")
    (problem,) = ops("lint", path, "--json").document["findings"]
    assert (problem["rule"], problem["severity"], problem["file"]) == ("declaration", "error", str(path))


def test_a_link_that_is_broken_in_one_profile_only(ops: CommandLine, tmp_path: Path) -> None:
    path = _write(tmp_path, "a", SOUND.format(name="a") + "profiles: {x: {}, y: {smoke: {model: chat}}}\n")
    (problem,) = ops("lint", path, "--json").document["findings"]
    assert (problem["path"], problem["profiles"]) == ("smoke.model", ["y"])


def test_a_number_from_an_unset_variable_is_not_held_against_the_file(
    ops: CommandLine, tmp_path: Path
) -> None:
    text = (
        SOUND.format(name="a")
        + "  more:\n    kind: app\n    command: [more]\n    ports:\n      http: ${PORT}\noops: 1\n"
    )
    path = _write(tmp_path, "a", text)
    found = [(one["severity"], one["line"]) for one in ops("lint", path, "--json").document["findings"]]
    assert found == [("error", 12), ("info", 11)]


@pytest.mark.parametrize("path", ["missing", "empty"])
def test_lint_of_nothing_is_misuse(path: str, ops: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    answer = ops("lint", path)
    assert (answer.code, answer.out) == (2, "")
    assert path in answer.err


def test_the_rules_can_be_listed(ops: CommandLine) -> None:
    rules = ops("lint", "--rules", "--json").document
    assert len(rules) > 30
    assert "card-overbooked" in ops("lint", "--rules").out


def test_as_a_program_of_its_own(tmp_path: Path) -> None:
    _write(tmp_path, "a", SOUND.format(name="a") + "smoke: {model: chat}\n")
    program = Path(sys.executable).with_name("ops-pipelines")
    done = subprocess.run(
        [program, "lint", "--json"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert json.loads(done.stdout)["good"] is False
