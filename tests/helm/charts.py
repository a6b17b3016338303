"""The charts of helm/ as Helm renders them."""

from __future__ import annotations

import functools
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.parts import require
from tools.charts import stack_charts, value_files

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_AFTER = re.compile(r"^# After ([\w.-]+(?: and [\w.-]+)*)[,:]")


@dataclass(frozen=True)
class Form:
    """A chart with the value files of one way to run it."""

    chart: Path
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "-".join([self.chart.name, *(one[len("values-") : -len(".yaml")] for one in self.values)])


def forms() -> Iterator[Form]:
    """Every chart with its defaults, and with each value file after those that it says it is laid over."""
    for chart in stack_charts():
        yield Form(chart)
        for name in value_files(chart):
            said = _AFTER.match((chart / name).read_text(encoding="utf-8"))
            yield Form(chart, (*(said[1].split(" and ") if said else ()), name))


def helm(*words: str) -> subprocess.CompletedProcess[str]:
    """One call of Helm."""
    program = str(require("helm")["helm"])
    return subprocess.run([program, *words], capture_output=True, text=True, check=False, timeout=120)


def rendered(form: Form, *settings: str) -> tuple[dict[str, Any], ...]:
    """The objects that a release of it is made of, hooks too."""
    return tuple(one for one in yaml.load_all(text_of(form, *settings), Loader=_LOADER) if one)


@functools.cache
def text_of(form: Form, *settings: str) -> str:
    """The same as YAML."""
    done = _template(form, settings)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(form: Form, *settings: str) -> str:
    """What Helm says to values that it does not take."""
    done = _template(form, settings)
    assert done.returncode != 0, "it was rendered"
    return done.stderr


def _template(form: Form, settings: Iterable[str]) -> subprocess.CompletedProcess[str]:
    files = [word for name in form.values for word in ("--values", str(form.chart / name))]
    given = [word for one in settings for word in ("--set-json", one)]
    return helm("template", form.chart.name, str(form.chart), "--namespace", "there", *files, *given)


def of_kind(objects: Iterable[Mapping[str, Any]], *kinds: str) -> list[Mapping[str, Any]]:
    """The objects of some kinds."""
    return [one for one in objects if one["kind"] in kinds]


def workloads(objects: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Deployments, StatefulSets and groups of RayClusters by the component that they are."""
    found: list[Mapping[str, Any]] = [*of_kind(objects, "Deployment", "StatefulSet")]
    for cluster in of_kind(objects, "RayCluster"):
        for group in (cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]):
            labels = group["template"]["metadata"]["labels"]
            about = {"name": group.get("groupName", "head"), "labels": labels}
            found.append({"kind": "RayCluster", "metadata": about, "spec": group})
    return {one["metadata"]["labels"]["app.kubernetes.io/component"]: one for one in found}


def pod_of(workload: Mapping[str, Any]) -> Mapping[str, Any]:
    """The pod's spec of a workload."""
    spec: Mapping[str, Any] = workload["spec"]["template"]["spec"]
    return spec
