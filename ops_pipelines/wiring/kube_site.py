"""A stack on a cluster: its chart packed, its values read, what a deploy works with."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ops_pipelines.adapters import _kubeconfig, helm
from ops_pipelines.adapters.helm import Helm
from ops_pipelines.adapters.kube import Cluster
from ops_pipelines.engines import kube as engine
from ops_pipelines.engines._kube_needs import Hands, Layers
from ops_pipelines.errors import ObjectMissing, PreconditionFailed, UsageError
from ops_pipelines.policy.kube_objects import Key, workloads_of
from ops_pipelines.policy.kube_release import Release, nested
from ops_pipelines.stack.kubernetes import KubernetesTarget
from ops_pipelines.wiring import kube_charts
from ops_pipelines.wiring.compose_site import within as along_the_chain
from ops_pipelines.wiring.connect import layout, object_store, secret
from ops_pipelines.wiring.files import write_whole
from ops_pipelines.wiring.kube_charts import Package
from ops_pipelines.wiring.site import Site

IN_CLUSTER = "in-cluster"


@dataclass(frozen=True)
class KubeSite:
    """One stack on a cluster."""

    site: Site

    @property
    def target(self) -> KubernetesTarget:
        """The declaration's target. Raises UsageError where it is another."""
        target = self.site.stack.target
        if not isinstance(target, KubernetesTarget):
            raise UsageError(
                f"{self.site.name} does not run on target kubernetes", remedy="choose another profile"
            )
        return target

    @property
    def folder(self) -> Path:
        """Folder of what is kept here of it."""
        return self.site.state / "kubernetes"

    @property
    def missing_files(self) -> tuple[Path, ...]:
        """Files and folders that the declaration names and that are not there."""
        target = self.target
        named = [*target.manifests, *target.values]
        if target.chart is not None and self._is_local:
            named.append(target.chart)
        return tuple(path for one in named if not (path := self.site.folder / one).exists())

    @property
    def _is_local(self) -> bool:
        """Whether the chart is a folder or package here; REPO/NAME of Helm's own list of repositories is none."""
        target = self.target
        chart = target.chart or ""
        if kube_charts.is_remote(chart, target.repository):
            return False
        return chart.startswith((".", "/")) or target.version is None or (self.site.folder / chart).exists()

    # --- the cluster ---

    @cached_property
    def kubeconfigs(self) -> tuple[Path, ...]:
        """Kubeconfigs in which the context is looked for. Raises SecretMissing, UsageError."""
        target, environ = self.target, self.site.settings.environ
        if target.kubeconfig is not None:
            return (self.site.folder / Path(target.kubeconfig).expanduser(),)
        text = secret(self.site, target.kubeconfig_secret)
        if text is None and target.context == IN_CLUSTER:
            text = _kubeconfig.in_cluster(environ)
        if text is None:
            return _kubeconfig.default_files(environ)
        file = self.folder / "kubeconfig"
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            write_whole(file, text, private=True)
        return (file,)

    @cached_property
    def cluster(self) -> Cluster:
        """The API server. Raises UsageError where the kubeconfig does not name it."""
        environ = self.site.settings.environ
        return Cluster(_kubeconfig.read_access(self.kubeconfigs, self.target.context, environ))

    @cached_property
    def helm(self) -> Helm:
        """Helm for the release. Raises CommandMissing."""
        target, environ = self.target, self.site.settings.environ
        program = helm.find_helm(environ, environ.get("OPS_HELM"))
        named = {"KUBECONFIG": ":".join(map(str, self.kubeconfigs))}
        return Helm(target.release, target.namespace, target.context, {**environ, **named}, program)

    # --- the release ---

    @cached_property
    def package(self) -> Package:
        """The chart, packed. Raises UsageError, CommandFailed."""
        target, into = self.target, self.folder / "charts"
        if target.manifests:
            files = [self.site.folder / one for one in target.manifests]
            return kube_charts.pack_manifests(target.release, files, into)
        chart = target.chart or ""
        if self._is_local:
            path = (self.site.folder / chart).resolve()
            if path.is_dir():
                return kube_charts.pack_folder(path, into)
            if path.is_file():
                return kube_charts.take_file(path, into)
            raise UsageError(f"the chart {path} is not there", remedy="correct target.chart")
        if target.version is None:
            raise UsageError(
                f"the chart {chart} is named without a version, so that nobody knows what would be deployed",
                remedy="set target.version",
            )
        return kube_charts.pulled(self.helm, chart, target.version, target.repository, into)

    @cached_property
    def release(self) -> Release:
        """What is declared. Raises UsageError where a value file is not there or is none."""
        target = self.target
        texts = []
        for one in target.values:
            path = self.site.folder / one
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise UsageError(f"{path} cannot be read", remedy="correct target.values") from error
            helm.read_values(text, str(path))
            texts.append(text)
        return Release(
            name=target.release,
            namespace=target.namespace,
            chart=self.package.title,
            package=self.package.digest,
            values=tuple(texts),
            set=dict(target.set),
            secrets=dict(target.set_secrets),
        )

    @cached_property
    def hands(self) -> Hands:
        """What a deploy works with."""
        return Hands(
            cluster=self.cluster,
            helm=self.helm,
            chart=self.chart,
            layers=self.layers,
            read=helm.read_objects,
            workloads=self.workloads,
            create_namespace=self.target.create_namespace,
            unschedulable_within=self.target.unschedulable_within,
        )

    def chart(self, release: Release) -> Path:
        """The packed chart of a release, from here or from the bucket. Raises UsageError where it is nowhere."""
        into = self.folder / "charts"
        path = into / f"{release.package}.tgz"
        if path.is_file():
            return path
        try:
            content, _ = object_store(self.site).get(layout(self.site).chart(self.site.name, release.package))
        except ObjectMissing as error:
            raise UsageError(
                f"the chart of {release.chart} is not kept in the bucket any more",
                remedy="deploy a declaration instead of going back to this revision",
            ) from error
        return kube_charts.put(content, release, into)

    def keep(self, release: Release) -> None:
        """Keep the chart of a release in the bucket, before a revision names it."""
        key = layout(self.site).chart(self.site.name, release.package)
        store = object_store(self.site)
        if store.head(key) is None:
            try:
                store.put(key, self.chart(release).read_bytes(), if_absent=True)
            except PreconditionFailed:  # somebody else kept it meanwhile: it is the same
                return

    def layers(self, release: Release) -> Layers:
        """The values of a release, those of its secrets last. Raises SecretMissing."""
        values = {path: secret(self.site, name) or "" for path, name in release.secrets.items()}
        more: list[Mapping[str, Any]] = list(release.layers)
        if values:
            more.append(nested(values))
        return Layers((*release.values, *map(helm.as_layer, more)), tuple(values.values()))

    def workloads(self, objects: Iterable[Mapping[str, Any]]) -> Mapping[str, Key]:
        """Component -> the workload that runs it."""
        here = [name for name, one in self.site.stack.components.items() if one.address is None]
        return workloads_of(objects, here, self.target.workloads, self.target.namespace)

    def render(self, release: Release) -> tuple[Mapping[str, Any], ...]:
        """The objects of a release. Raises CommandFailed."""
        return self.helm.render(self.chart(release), self.layers(release).texts, upgrade=True)

    def look(self, title: str, release: Release, warnings: Iterable[str] = ()) -> engine.Look:
        """What applying a release would change."""
        return engine.look(title, release, self.hands, tuple(warnings))

    def forget(self) -> None:
        """Remove what is kept here; it can be made again."""
        shutil.rmtree(self.folder, ignore_errors=True)


def within(site: Site) -> float:
    """Seconds that a whole release may take to become well: declared, or along the slowest chain of components."""
    target = site.stack.target
    if isinstance(target, KubernetesTarget) and target.within is not None:
        return target.within
    return along_the_chain(site)
