"""Rules on manifests and charts: each with a fault and its mend; the guides' own files; files in good style."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from ops_pipelines.policy.lint_kube import KUBE_GROUPS, KUBE_RULES, KUBE_UNREADABLE, NOT_RENDERED, lint_kube
from ops_pipelines.settings import load_settings
from ops_pipelines.stack.manifests import UNKNOWN, read_manifests, untemplated
from ops_pipelines.wiring.lint_charts import lint_chart
from ops_pipelines.wiring.linting import Line, lint_paths
from tests.lint.kube_cases import CASES
from tests.parts import require

HERE = Path(__file__).parent / "kube"
RULES = [row for row in CASES if row[5]]


def found(code: str, text: str) -> list[tuple[int, str]]:
    hits = [one.hit for one in lint_kube([read_manifests(text.encode(), "m.yaml")]) if one.code == code]
    return [(hit.at.line, hit.severity) for hit in hits]


@pytest.mark.parametrize(
    ("code", "text", "wrong", "right", "line", "severity"), RULES, ids=[f"{n}-{r[0]}" for n, r in enumerate(RULES)]
)  # fmt: skip
def test_one_text_makes_the_fault(
    code: str, text: str, wrong: str, right: str, line: int, severity: str
) -> None:
    assert wrong in text
    assert (line, severity) in found(code, text)
    assert not found(code, text.replace(wrong, right))
    assert not found(KUBE_UNREADABLE, text.replace(wrong, right))


def test_every_rule_has_a_case_a_code_of_its_own_and_a_story() -> None:
    codes = [rule.code for rule in KUBE_RULES]
    assert set(codes) <= {row[0] for row in CASES}
    assert len(set(codes)) == len(codes) == len({rule.name for rule in KUBE_RULES})
    for number, (_, rules) in enumerate(KUBE_GROUPS.values(), start=1):
        assert all(rule.code.startswith(f"OPS-K{number}") for rule in rules)
    assert all(rule.faults and len(rule.about) > 30 for rule in KUBE_RULES)


# file, code, what the line of the finding holds
GUIDES = [
    ("guides/llm-service-pod.yaml", "OPS-K101", "kind: Pod"),
    ("guides/llm-service-pod.yaml", "OPS-K102", "livenessProbe:"),
    ("guides/llm-service-pod.yaml", "OPS-K103", "emptyDir: {}"),
    ("guides/aphrodite.yaml", "OPS-C201", "aphrodite-openai:latest"),
    ("guides/aphrodite.yaml", "OPS-K210", "containerPort: 8000"),
    ("guides/aphrodite.yaml", "OPS-K205", "containerName: aphrodite"),
    ("guides/aphrodite.yaml", "OPS-K206", "name: aphrodite-engine"),
    ("guides/aphrodite.yaml", "OPS-K301", "auth.yaml: |"),
    ("guides/obelisk-backup.yaml", "OPS-K401", "- |"),
    ("guides/obelisk-backup.yaml", "OPS-K402", "- |"),
    ("guides/obelisk-backup.yaml", "OPS-K403", "- |"),
    ("guides/obelisk-backup.yaml", "OPS-C201", "backup-tool:latest"),
]
CHART = [
    ("templates/keda-scaledobject.yaml", "OPS-K202", "metricName: ollama_requests_pending"),
    ("templates/keda-scaledobject.yaml", "OPS-K203", "type: Utilization"),
    ("templates/keda-scaledobject.yaml", "OPS-K204", "type: prometheus"),
    ("templates/karpenter-provisioner.yaml", "OPS-K207", "apiVersion: karpenter.sh/v1alpha5"),
    ("templates/ollama-statefulset.yaml", "OPS-K102", "livenessProbe:"),
    ("templates/ollama-statefulset.yaml", "OPS-C201", "image:"),
]


def lint(*paths: Path, **environ: str) -> tuple[Line, ...]:
    return lint_paths(paths, load_settings({"PATH": "", **environ}, cwd=HERE))


def told(lines: tuple[Line, ...], file: Path, code: str, words: str) -> bool:
    written = file.read_text(encoding="utf-8").splitlines()
    return any((one.rule, one.file) == (code, str(file)) and words in written[one.line - 1] for one in lines)


@pytest.mark.parametrize(("name", "code", "words"), GUIDES, ids=[f"{row[0]}-{row[1]}" for row in GUIDES])
def test_a_fault_of_a_guide_is_found_at_its_line(name: str, code: str, words: str) -> None:
    assert told(lint(HERE / name), HERE / name, code, words)


def test_a_chart_without_helm_is_read_as_text() -> None:
    lines = lint(HERE / "obelisk")
    assert [(one.rule, one.severity) for one in lines if one.rule == NOT_RENDERED] == [(NOT_RENDERED, "info")]
    for name, code, words in CHART:
        assert told(lines, HERE / "obelisk" / name, code, words), (name, code)


def test_a_chart_is_rendered_by_helm_and_told_in_its_templates(tmp_path: Path) -> None:
    helm = require("helm").path
    lines = lint(HERE / "obelisk", PATH=str(helm.parent), HOME=str(tmp_path))
    assert not [one for one in lines if one.rule == NOT_RENDERED]
    for name, code, words in CHART:
        assert told(lines, HERE / "obelisk" / name, code, words), (name, code)
    chart = tmp_path / "obelisk"
    shutil.copytree(HERE / "obelisk", chart)
    (chart / "templates" / "broken.yaml").write_text('a: {{ required "needed" .Values.gone }}\n')
    broken = lint_chart(chart, {"PATH": str(helm.parent), "HOME": str(tmp_path)})
    assert [one.code for one in broken if one.code == NOT_RENDERED] == [NOT_RENDERED]
    assert "needed" in next(one.hit.found for one in broken if one.code == NOT_RENDERED)
    assert "OPS-K207" in {one.code for one in broken}, "what can be read is read all the same"


def test_scalers_of_one_folder_are_seen_together(tmp_path: Path) -> None:
    for name, kind in (("hpa.yaml", "HorizontalPodAutoscaler"), ("keda.yaml", "ScaledObject")):
        text = (
            f"apiVersion: x/v1\nkind: {kind}\nmetadata: {{name: a}}\nspec: {{scaleTargetRef: {{name: a}}}}\n"
        )
        (tmp_path / name).write_text(text)
    assert [one.rule for one in lint(tmp_path)] == ["OPS-K201"]
    (tmp_path / "keda.yaml").write_text(
        (tmp_path / "keda.yaml").read_text().replace("\nspec", " # ops-lint: ignore OPS-K201 because x\nspec")
    )
    mended = (tmp_path / "keda.yaml").read_text().replace(" # ops-lint: ignore OPS-K201 because x", "")
    (tmp_path / "keda.yaml").write_text(
        mended.replace("}}\n", "}} # ops-lint: ignore OPS-K201 because a test\n")
    )
    assert [one.suppressed for one in lint(tmp_path)] == ["a test"]


@pytest.mark.parametrize("file", sorted((HERE / "good").iterdir()), ids=lambda file: file.stem)
def test_nothing_is_held_against_a_file_in_good_style(file: Path) -> None:
    assert [line.message for line in lint(file) if line.severity != "info"] == []


def test_templates_as_text() -> None:
    values = {"image": {"tag": "1.2.3"}, "on": True}
    template = (
        "{{- if .Values.on }}\nimage: a:{{ .Values.image.tag }}\non: {{ .Values.on }}\n"
        'name: {{ .Values.gone | default "x" }}\nother: {{ include "b" . }}\n{{- end }}\n'
        "{{/* a\nremark */}}\nlast: 1"
    )
    lines = untemplated(template, values).split("\n")
    assert lines[:4] == ["", "image: a:1.2.3", "on: true", "name: x"]
    assert lines[4].startswith(f"other: {UNKNOWN}")
    assert lines[5:] == ["", "", "", "last: 1"], "every line stays where it was"


_ODD = ["", "null", "1", "[]", "{}", "[[]]", "[{}]", "{a: }", "[null]", "'${'", "{a: {b: [c]}}"]
_PLACES = (
    "spec: %s", "spec: {template: %s}", "spec: {template: {spec: {containers: %s}}}", "metadata: %s",
    "spec: {template: {spec: {containers: [{name: a, image: ollama/ollama, env: %s}]}}}",
    "spec: {template: {spec: {containers: [{name: a, volumeMounts: %s, livenessProbe: %s}], volumes: %s}}}",
    "spec: {triggers: %s, scaleTargetRef: %s, metrics: %s}", "data: %s", "spec: {ports: %s, type: NodePort}",
    "items: %s", "spec: {resourcePolicy: {containerPolicies: [%s]}, targetRef: %s}", "stringData: %s",
)  # fmt: skip


@pytest.mark.parametrize("odd", _ODD)
def test_no_value_ends_in_a_crash(odd: str) -> None:
    for kind in ("Deployment", "Pod", "CronJob", "ScaledObject", "HorizontalPodAutoscaler", "VerticalPodAutoscaler",
                 "ConfigMap", "Secret", "Service", "List", "RayCluster"):  # fmt: skip
        for place in _PLACES:
            text = f"apiVersion: v1\nkind: {kind}\n" + place.replace("%s", odd) + "\n"
            lint_kube([read_manifests(text.encode(), "m.yaml")])


def test_many_files_are_shared_out_and_say_the_same(tmp_path: Path) -> None:
    text = "services:\n  a:\n    image: redis:latest\n"
    for number in range(200):
        (tmp_path / f"{number:03d}.yaml").write_text(text)
    lines = [one for one in lint(tmp_path) if one.rule == "OPS-C201"]
    assert len({one.file for one in lines}) == 200
    assert os.getpid() == int(Path("/proc/self").readlink().name), "still in the process that asked"
