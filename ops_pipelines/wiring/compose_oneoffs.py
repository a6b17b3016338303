"""One-off containers of a Compose stack, on its Docker Engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from ops_pipelines.adapters import docker_oneoff
from ops_pipelines.errors import UsageError
from ops_pipelines.policy.compose_plan import Behind
from ops_pipelines.policy.one_off import DATA, Mounted, OneOff
from ops_pipelines.wiring.beside import CHANGES, HOME, READS, is_near
from ops_pipelines.wiring.compose_data import sides
from ops_pipelines.wiring.compose_site import ComposeSite
from ops_pipelines.wiring.connect import backup_of
from ops_pipelines.wiring.site import Site


@dataclass(frozen=True)
class EngineRoom:
    """The engine of a stack, for one part."""

    site: Site
    kind: str
    name: str

    @cached_property
    def _here(self) -> ComposeSite:
        return ComposeSite(self.site)

    @cached_property
    def sides(self) -> tuple[Behind, ...]:
        """What lies behind each replica, on the engine's machine."""
        return sides(self.site, self.kind, self.name)

    def top(self, side: Behind) -> str:
        """Name of the mounted folder: as there."""
        return side.name

    def is_mount(self, side: Behind) -> bool:
        """The folder that holds it is mounted."""
        del side
        return False

    @property
    def endpoint(self) -> str | None:
        """The bucket's store, as the engine's machine reaches it."""
        here, endpoint = self._here, backup_of(self.site).endpoint
        if here.target.data.endpoint is not None:
            return here.target.data.endpoint
        if is_near(endpoint) and not here.docker.is_local:
            raise UsageError(
                f"the bucket of {self.site.name} is at {endpoint}: for the engine at {here.docker.address} "
                "that is itself",
                remedy="say in `target.data.endpoint` how the engine's machine reaches it",
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
        """The container of one verb."""
        project, moves = self._here.target.project, self._here.target.data
        return OneOff(
            name=f"{project}--{self.name}-{suffix}",
            image=moves.image,
            command=command,
            environ=environ,
            mounts=(
                Mounted(f"{project}_ops-pipelines", HOME, read_only=False, volume=True),
                *(_mount(one, index, verb) for index, one in enumerate(found)),
            ),
            labels=labels,
            network=moves.network or ("host" if is_near(self.endpoint) else "bridge"),
            memory=moves.memory,
            cpus=moves.cpus,
        )

    def run(self, spec: OneOff, heard: Callable[[str], None]) -> None:
        """Run it to its end."""
        docker_oneoff.run(self._here.docker, spec, heard)

    def sweep(self, current: int | None) -> None:
        """Remove what a killed run left."""
        docker_oneoff.sweep(self._here.docker, self.site.name, current)


def room(site: Site, kind: str, name: str) -> EngineRoom:
    """The place of a part's containers."""
    return EngineRoom(site, kind, name)


def _mount(side: Behind, index: int, verb: str) -> Mounted:
    """One replica: what is mounted, where it is only read, or holds what lies beside too; else the folder above."""
    if verb in READS or side.inner:
        source, target = (side.volume or side.root), f"{DATA}/{index}/{side.name}"
        return Mounted(source, target, verb not in CHANGES, volume=bool(side.volume))
    return Mounted(side.above, f"{DATA}/{index}", verb not in CHANGES)
