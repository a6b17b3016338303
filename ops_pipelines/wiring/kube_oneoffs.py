"""One-off Jobs of a stack on a cluster, beside its volumes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import PurePosixPath

from ops_pipelines.adapters import kube_oneoff
from ops_pipelines.errors import TargetUnsupported, UsageError
from ops_pipelines.policy.compose_plan import Behind
from ops_pipelines.policy.kube_job import Beside
from ops_pipelines.policy.kube_volumes import TOP, node_of
from ops_pipelines.policy.one_off import DATA, Mounted, OneOff
from ops_pipelines.wiring import kube_data
from ops_pipelines.wiring.beside import CHANGES, is_near
from ops_pipelines.wiring.connect import backup_of
from ops_pipelines.wiring.kube_site import KubeSite
from ops_pipelines.wiring.site import Site

_LONGEST_NAME = 50
"""Characters: a pod's name is the Job's with six more, and a label holds 63."""


@dataclass(frozen=True)
class ClusterRoom:
    """The cluster of a stack, for one part."""

    site: Site
    kind: str
    name: str

    @cached_property
    def _here(self) -> KubeSite:
        return KubeSite(self.site)

    @cached_property
    def _found(self) -> tuple[tuple[Behind, ...], kube_data.Object]:
        return kube_data.sides(self._here, self.kind, self.name)

    @property
    def sides(self) -> tuple[Behind, ...]:
        """The claim behind each replica."""
        return self._found[0]

    def top(self, side: Behind) -> str:
        """Every claim is mounted under the same name."""
        return str(PurePosixPath(TOP, *PurePosixPath(side.root).parts[2:]))

    def is_mount(self, side: Behind) -> bool:
        """A claim's top is."""
        return not side.inner and self.top(side) == TOP

    @property
    def endpoint(self) -> str | None:
        """The bucket's store, as pods reach it."""
        moves, endpoint = self._here.target.data, backup_of(self.site).endpoint
        if moves.endpoint is not None:
            return moves.endpoint
        if is_near(endpoint):
            raise UsageError(
                f"the bucket of {self.site.name} is at {endpoint}: for a pod of {self._here.cluster.name} "
                "that is itself",
                remedy="say in `target.data.endpoint` how the cluster reaches it",
            )
        return endpoint

    def made(
        self,
        *,
        suffix: str,
        verb: str,
        found: tuple[Behind, ...],
        command: tuple[str, ...],
        environ: Mapping[str, str],
        labels: Mapping[str, str],
    ) -> OneOff:
        """The Job of one verb."""
        target = self._here.target
        stem = f"{target.release}-{self.name}".lower().replace("_", "-")[: _LONGEST_NAME - len(suffix) - 1]
        return OneOff(
            name=f"{stem.rstrip('-.')}-{suffix}",
            image=target.data.image or f"ops-pipelines:{metadata.version('ops-pipelines')}",
            command=command,
            environ=environ,
            mounts=tuple(
                Mounted(one.volume, f"{DATA}/{index}/{TOP}", verb not in CHANGES, volume=True)
                for index, one in enumerate(found)
            ),
            labels=labels,
            network="",
            memory=target.data.memory,
            cpus=target.data.cpus,
        )

    def run(self, spec: OneOff, heard: Callable[[str], None]) -> None:
        """Run it to its end, on the node where the volume is held."""
        target = self._here.target
        _, workload = self._found
        beside = Beside(workload["spec"]["template"], self._node(spec), target.data.service_account)
        kube_oneoff.run(
            self._here.cluster, target.namespace, spec, beside, heard, target.unschedulable_within
        )

    def sweep(self, current: int | None) -> None:
        """Remove what a killed run left."""
        kube_oneoff.sweep(self._here.cluster, self._here.target.namespace, self.site.name, current)

    def _node(self, spec: OneOff) -> str:
        """Raises TargetUnsupported where a claim is not there, or is one pod's alone."""
        names = {one.source for one in spec.mounts}
        base = f"/api/v1/namespaces/{self._here.target.namespace}"
        there = self._here.cluster.listed(f"{base}/persistentvolumeclaims")
        claims = [one for one in there if one["metadata"]["name"] in names]
        if gone := sorted(names - {one["metadata"]["name"] for one in claims}):
            raise TargetUnsupported(
                f"{self.kind}/{self.name} of {self.site.name} lies in the volume claim {', '.join(gone)}, which is "
                "not there",
                remedy=f"deploy first, which makes it: ops-pipelines deploy {self.site.name}",
            )
        try:
            return node_of(claims, self._here.cluster.listed(f"{base}/pods"))
        except ValueError as error:
            raise TargetUnsupported(
                f"the volume of {self.kind}/{self.name} of {self.site.name} is ReadWriteOncePod, and pod {error} "
                "has it",
                remedy="let its claim be ReadWriteOnce, or stop the pod for the time (hooks)",
            ) from error


def room(site: Site, kind: str, name: str) -> ClusterRoom:
    """The place of a part's Jobs."""
    return ClusterRoom(site, kind, name)
