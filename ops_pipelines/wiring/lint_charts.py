"""Where lint finds Kubernetes manifests and Helm charts, and how it reads them.

A chart is rendered by Helm where that is on PATH; else, and where Helm refuses, its templates are read as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from ops_pipelines.adapters import _process
from ops_pipelines.errors import OpsError
from ops_pipelines.policy.lint_kube import NOT_RENDERED, KubeFinding, lint_kube
from ops_pipelines.policy.lint_kube.rule import Hit
from ops_pipelines.stack.manifests import Manifests, Position, is_manifest, read_manifests, untemplated

_WITHIN = 60.0
_SOURCE = re.compile(r"^# Source: [^/]+/(?P<file>.+)$", re.MULTILINE)


def is_chart(folder: Path) -> bool:
    """Whether a folder is a Helm chart."""
    return (folder / "Chart.yaml").is_file() and (folder / "templates").is_dir()


def chart_of(file: Path) -> Path | None:
    """The chart that a file is a template of; None where it is of none."""
    return next(
        (one.parent for one in file.parents if one.name == "templates" and is_chart(one.parent)), None
    )


def manifest(file: Path) -> bool:
    """Whether a file holds Kubernetes objects, and is no template of a chart; one that cannot be read holds none."""
    try:
        return file.suffix in (".yaml", ".yml") and is_manifest(file.read_bytes()) and chart_of(file) is None
    except OSError:
        return False


def lint_manifests(files: Sequence[Path]) -> tuple[KubeFinding, ...]:
    """Findings on files that are applied together."""
    return lint_kube([read_manifests(file.read_bytes(), str(file)) for file in files])


def lint_chart(folder: Path, environ: Mapping[str, str]) -> tuple[KubeFinding, ...]:
    """Findings on a chart, each at its place in a template."""
    try:
        helm = _process.find_program("helm", environ=environ, remedy="install Helm")
        done = _process.run(
            [helm, "template", "lint", folder], timeout=_WITHIN, remedy="render it by hand", environ=environ
        )
    except OpsError as error:
        said = [line.strip() for line in error.message.splitlines() if line.strip()]
        why = next((line for line in said if line.startswith("Error")), said[-1])[:200]
        return (_told(folder, why), *lint_kube(_as_text(folder)))
    documents = _rendered(folder, done.stdout)
    found = lint_kube([read_manifests(one.text.encode(), key) for key, one in documents.items()])
    return tuple(replace(one, hit=replace(one.hit, at=_home(one.hit.at, documents))) for one in found)


def _told(folder: Path, why: str) -> KubeFinding:
    place = Position(str(folder / "Chart.yaml"), 1, 1)
    found, breaks = f"it was not rendered ({why})", "its templates were read as text, with the default values"
    return KubeFinding(
        NOT_RENDERED, Hit(place, "", found, breaks, "have `helm` on PATH, and defaults that render", "info")
    )


def _as_text(folder: Path) -> list[Manifests]:
    try:
        values: Any = yaml.safe_load((folder / "values.yaml").read_text(encoding="utf-8")) or {}
    except (OSError, ValueError, yaml.YAMLError):
        values = {}
    found = []
    for file in _templates(folder):
        text = untemplated(
            file.read_text(encoding="utf-8", errors="replace"), values if isinstance(values, dict) else {}
        )
        if is_manifest(text.encode()):
            # What is no YAML before it is rendered is no fault of the template.
            found.append(replace(read_manifests(text.encode(), str(file)), problems=()))
    return found


def _templates(folder: Path) -> Iterable[Path]:
    return sorted(one for one in (folder / "templates").rglob("*") if one.suffix in (".yaml", ".yml"))


@dataclass(frozen=True)
class _Rendered:
    """One rendered document, and the template that it is of."""

    template: Path
    text: str


def _rendered(folder: Path, output: bytes) -> dict[str, _Rendered]:
    """The documents that Helm wrote, by a name of their own."""
    found = {}
    for number, part in enumerate(re.split(r"^---$", output.decode("utf-8", "replace"), flags=re.MULTILINE)):
        source = _SOURCE.search(part)
        if source and is_manifest(part.encode()):
            found[str(number)] = _Rendered(folder / source["file"], part)
    return found


def _home(place: Position, documents: Mapping[str, _Rendered]) -> Position:
    """The line of the template that a rendered line most likely came from: the same text, else the same key."""
    one = documents.get(place.file)
    if one is None:
        return place
    file = str(one.template)
    try:
        lines = one.template.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return Position(file, 1, 1)
    written = one.text.splitlines()[place.line - 1].strip() if place.line <= one.text.count("\n") + 1 else ""
    key = written.partition(":")[0].strip("- ")
    same = [number for number, line in enumerate(lines, 1) if line.strip() == written]
    like = [number for number, line in enumerate(lines, 1) if key and line.strip("- ").startswith(f"{key}:")]
    return Position(file, next(iter([*same, *like]), 1), 1)
