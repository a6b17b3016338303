"""The targets that a stack can run on, and what each of them can do."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Protocol, cast

from ops_pipelines.engines._deploy_needs import Deployed, ReplicaStatus
from ops_pipelines.engines.ports import Fence, Progress
from ops_pipelines.engines.revisions import Revision
from ops_pipelines.policy.plan import Finding, Plan
from ops_pipelines.wiring.site import Site

# By name: a target asks of the stack what itself is answered by its target.
_TARGETS = {
    "process": "ops_pipelines.wiring.process_target",
    "compose": "ops_pipelines.wiring.compose_target",
    "kubernetes": "ops_pipelines.wiring.kube_target",
}


class Target(Protocol):
    """What a target does for a stack; one module for each."""

    def plan(self, site: Site, *, to: int | None = None, blue_green: bool | None = None) -> Plan:
        """What a deploy, or going back to revision `to`, would change. Nothing is changed by it.

        `blue_green`: whether new versions start beside the old ones; None: as declared."""
        ...

    def preflight(self, site: Site) -> tuple[Finding, ...]:
        """Everything that a deploy needs, the good findings too. Nothing is changed by it."""
        ...

    def deploy(
        self,
        site: Site,
        *,
        earlier: Revision | None,
        by: str,
        fence: Fence,
        progress: Progress,
        blue_green: bool | None = None,
    ) -> Deployed:
        """Deploy what is declared, or an earlier revision. Raises PreflightFailed, DeployFailed, LeaseLost."""
        ...

    def reading(self, site: Site) -> AbstractContextManager[None]:
        """Begin to read what is declared while something else is done; within the `with` it is read once."""
        ...

    def scale(self, site: Site, component: str, count: int, fence: Fence) -> None:
        """Bring one component to `count` replicas. Raises UsageError for a stack that was never deployed."""
        ...

    def status(self, site: Site) -> tuple[ReplicaStatus, ...]:
        """Each replica as it is now."""
        ...

    def replica_numbers(self, site: Site, component: str) -> tuple[int, ...] | None:
        """Numbers of a component's replicas that carry load; None where that is unknown."""
        ...

    def drift(self, site: Site) -> Plan:
        """What differs between what runs and what is declared. Raises Unreachable."""
        ...

    def running(self, site: Site, components: Sequence[str]) -> tuple[str, ...]:
        """Names of the replicas of some components that run or would run again by themselves. Raises Unreachable."""
        ...

    def require_free(self, site: Site, components: Sequence[str]) -> None:
        """Raise Refused where somebody else writes to the data of some components."""
        ...

    def halt(self, site: Site, name: str) -> None:
        """Stop one replica for a while."""
        ...

    def resume(self, site: Site, name: str) -> bool:
        """Start one that `halt` stopped; False where it is not there any more."""
        ...

    def down_plan(self, site: Site, *, volumes: bool) -> Plan:
        """What `down` would stop and remove."""
        ...

    def down(self, site: Site, *, volumes: bool, fence: Fence) -> Plan:
        """Stop and remove what runs; data stays, unless `volumes` says otherwise. Returns what was done."""
        ...

    def logs(self, site: Site, component: str | None, *, lines: int, follow: bool) -> int:
        """Show what a component (None: all) prints, on this terminal; 0 where that went well."""
        ...

    def build(self, site: Site, components: Sequence[str]) -> int:
        """Build images, on this terminal; 0 where that went well. Raises UsageError where there are none."""
        ...


def on(site: Site) -> Target:
    """The target of a stack that this version acts on. Raises KeyError for another."""
    return cast("Target", import_module(_TARGETS[site.stack.target.kind]))
