"""Helm 4 and 3.18+, by its command line: what renders charts, and what applies them."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ops_pipelines.adapters import _process
from ops_pipelines.errors import CommandFailed, CommandMissing, UsageError
from ops_pipelines.policy.kube_objects import laid_out

_ASK = 60.0
"""Seconds for a question; changes have limits of their own."""
_PULL = 300.0
_SLACK = 30.0
_INSTALL = "install Helm 4, or 3.18 and newer, and have it on PATH: https://helm.sh/docs/intro/install"
_LOOK = "look at the words of Helm above"
_AWAY = ("connection refused", "Kubernetes cluster unreachable", "i/o timeout", "EOF", "no route to host")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML as Kubernetes reads it: `2024-01-01` is a text, as JSON has no dates."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in rules if tag != "tag:yaml.org,2002:timestamp"]
    for first, rules in _Loader.yaml_implicit_resolvers.items()
}
# `=` and `<<` are values to Go's reader as they are to everybody else's but PyYAML's.
_Loader.add_constructor("tag:yaml.org,2002:value", lambda loader, node: loader.construct_scalar(node))


@dataclass(frozen=True)
class Helm:
    """`helm` for one release of one context."""

    release: str
    namespace: str
    context: str
    environ: Mapping[str, str] = field(repr=False)
    """With KUBECONFIG, and the folders of Helm's own."""
    program: str = "helm"

    def version(self) -> str:
        """Its version, `4.3.1`. Raises CommandMissing."""
        return self._run(["version", "--template", "{{.Version}}"], timeout=_ASK).strip().lstrip("v")

    def render(self, chart: Path, layers: Sequence[str], *, upgrade: bool) -> tuple[dict[str, Any], ...]:
        """The objects of a chart with values (texts, later ones override), as the cluster would be given them: what it
        looks up in the cluster is looked up. Raises CommandFailed with what the chart said."""
        with _files(layers) as files:
            words = ["template", self.release, str(chart), *_values(files), "--dry-run=server"]
            words += ["--is-upgrade"] if upgrade else []
            return read_objects(self._run([*words, *self._where], timeout=_ASK, secrets=()))

    def apply(
        self,
        chart: Path,
        layers: Sequence[str],
        *,
        within: float,
        labels: Mapping[str, str],
        secrets: Sequence[str],
        force_conflicts: bool = False,
        create_namespace: bool = False,
    ) -> None:
        """Install or upgrade the release. It does not wait for pods, but for hooks, each for `within` seconds at most.

        Raises CommandFailed; nothing is put back by Helm itself."""
        with _files(layers) as files:
            words = ["upgrade", "--install", self.release, str(chart), *_values(files)]
            words += ["--labels", ",".join(f"{name}={value}" for name, value in labels.items())]
            words += ["--history-max", "10", *self._within(within)]
            words += ["--force-conflicts"] if force_conflicts else []
            words += ["--create-namespace"] if create_namespace else []
            words += ["--output", "json", "--hide-notes"]
            self._run([*words, *self._where], timeout=within * 2 + _SLACK, secrets=secrets)

    def back(self, revision: int, *, within: float, force_conflicts: bool = False) -> None:
        """Bring back what one of Helm's own revisions applied, as it was. Raises CommandFailed."""
        words = ["rollback", self.release, str(revision), *self._within(within)]
        words += ["--force-conflicts"] if force_conflicts else []
        self._run([*words, *self._where], timeout=within * 2 + _SLACK)

    def uninstall(self, *, within: float) -> None:
        """Remove the release, but for what is marked to be kept; one that is not there is nothing."""
        words = ["uninstall", self.release, "--ignore-not-found", *self._within(within)]
        self._run([*words, *self._where], timeout=within * 2 + _SLACK)

    def pull(self, chart: str, *, version: str, repository: str | None, folder: Path) -> Path:
        """Bring a chart of a registry or a repository as a package, and say where it lies."""
        words = ["pull", chart, "--version", version, "--destination", str(folder)]
        words += ["--repo", repository] if repository else []
        self._run(words, timeout=_PULL)
        found = sorted(folder.glob("*.tgz"))
        if not found:
            raise UsageError(
                f"Helm brought no package for {chart}", remedy="look at the chart's name and version"
            )
        return found[0]

    def test(self, *, within: float, logs: bool = True) -> str:
        """Run the tests of the release (`helm test`) and return what they said. Raises CommandFailed."""
        words = ["test", self.release, *self._within(within), *(["--logs"] if logs else [])]
        return self._run([*words, *self._where], timeout=within + _SLACK)

    @property
    def _where(self) -> list[str]:
        return ["--namespace", self.namespace, "--kube-context", self.context]

    @staticmethod
    def _within(seconds: float) -> list[str]:
        return ["--timeout", f"{max(1, round(seconds))}s"]

    def _run(self, words: Sequence[str], *, timeout: float, secrets: Sequence[str] = ()) -> str:
        done = _process.run(
            [self.program, *words], timeout=timeout, remedy=_LOOK, environ=self.environ, secrets=secrets
        )
        return done.stdout.decode("utf-8", "replace")


def find_helm(environ: Mapping[str, str], named: str | None = None) -> str:
    """Path of Helm. Raises CommandMissing with how it is installed."""
    try:
        return str(_process.find_program(named or "helm", environ=environ, remedy=_INSTALL))
    except CommandMissing as error:
        raise CommandMissing(error.message, remedy=_INSTALL) from error


def read_objects(text: str) -> tuple[dict[str, Any], ...]:
    """The objects of a manifest of many documents. Raises UsageError where it is no YAML."""
    try:
        return tuple(laid_out(yaml.load_all(text, Loader=_Loader)))
    except yaml.YAMLError as error:
        words = re.sub(r"\s+", " ", str(error))[:300]
        raise UsageError(f"what the chart rendered is no YAML: {words}", remedy="mend the chart") from error


def read_values(text: str, name: str) -> Any:
    """The content of a value file. Raises UsageError that names it."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  a safe loader, without dates
    except yaml.YAMLError as error:
        words = re.sub(r"\s+", " ", str(error))[:200]
        raise UsageError(f"{name} is no YAML: {words}", remedy="mend it") from error


def is_away(error: CommandFailed) -> bool:
    """Whether a command failed because no API server answered."""
    return any(words in error.output for words in _AWAY)


def as_layer(values: Mapping[str, Any]) -> str:
    """Values as the text of a value file (JSON is YAML)."""
    return json.dumps(values)


def _values(files: Sequence[Path]) -> list[str]:
    return [word for file in files for word in ("--values", str(file))]


@contextmanager
def _files(texts: Sequence[str]) -> Iterator[list[Path]]:
    """Texts as files that nobody else reads; they may hold secrets."""
    with tempfile.TemporaryDirectory(prefix="ops-helm-") as folder:  # 0700
        found = []
        for number, text in enumerate(texts):
            file = Path(folder) / f"{number}.yaml"
            file.write_text(text, encoding="utf-8")
            found.append(file)
        yield found
