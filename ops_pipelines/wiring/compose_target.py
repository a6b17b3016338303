"""Target `compose` of one stack: its project rendered, planned, deployed, put back, looked at."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets as random_secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from ops_pipelines.adapters.compose import Compose
from ops_pipelines.adapters.docker_engine import DockerEngine
from ops_pipelines.engines import compose as engine
from ops_pipelines.engines._deploy_needs import Deployed, ReplicaStatus, no_smoke
from ops_pipelines.engines._deploy_preflight import refuse
from ops_pipelines.engines.ports import Fence, Progress
from ops_pipelines.engines.revisions import Revision
from ops_pipelines.errors import OpsError, UsageError
from ops_pipelines.policy.compose_plan import Container, ContainerState, replica_health
from ops_pipelines.policy.compose_profiles import switched_on
from ops_pipelines.policy.compose_project import (
    Project,
    from_json,
    make_project,
    pinned_files,
    placed,
    replicas_of,
    secret_variables,
    to_json,
    with_replicas,
)
from ops_pipelines.policy.plan import Finding, Plan, Step, Verb
from ops_pipelines.policy.processes import ProcessState
from ops_pipelines.stack.components import ComposeTarget
from ops_pipelines.wiring import asking, revisions
from ops_pipelines.wiring.connect import secret
from ops_pipelines.wiring.files import write_whole
from ops_pipelines.wiring.site import Site

_LARGEST = 1 << 20
"""Bytes above which a mounted file is data, not configuration."""
_SECRETS_LABEL = "io.ops-pipelines.secrets"
_SALT = "salt"
_SLACK = 60.0
_DOWN = 600.0
"""Seconds that stopping may take; each container has its own grace period within it."""
_STATES: Mapping[ContainerState, ProcessState] = {
    "created": "stopped",
    "running": "running",
    "paused": "stopped",
    "restarting": "backoff",
    "removing": "stopping",
    "exited": "exited",
    "dead": "fatal",
}


@dataclass(frozen=True)
class ComposeSite:
    """One stack on a Docker Engine."""

    site: Site

    @property
    def target(self) -> ComposeTarget:
        """The declaration's target. Raises UsageError where it is another."""
        target = self.site.stack.target
        if not isinstance(target, ComposeTarget):
            raise UsageError(
                f"{self.site.name} does not run on target compose", remedy="choose another profile"
            )
        return target

    @property
    def files(self) -> tuple[Path, ...]:
        """The Compose files."""
        return tuple((self.site.folder / one).resolve() for one in self.target.files)

    @property
    def profiles(self) -> tuple[str, ...]:
        """Compose profiles that are switched on: the declaration's, else COMPOSE_PROFILES, as Compose reads it."""
        named = self.environ.get("COMPOSE_PROFILES", "").split(",")
        return tuple(self.target.compose_profiles) or tuple(one.strip() for one in named if one.strip())

    @property
    def missing_files(self) -> tuple[Path, ...]:
        """Those of them that are not there."""
        return tuple(one for one in self.files if not one.is_file())

    @property
    def directory(self) -> Path:
        """Where relative paths of the project start."""
        return self.files[0].parent

    @cached_property
    def environ(self) -> dict[str, str]:
        """What the project's variables stand for, secrets of the stack not included. The environment wins."""
        import dotenv

        named = self.target.env_file
        file = self.site.folder / named if named else self.directory / ".env"
        if named and not file.is_file():
            raise UsageError(
                f"{file} is not there", remedy=f"correct target.env_file in {self.site.loaded.path}"
            )
        values = (
            {k: v for k, v in dotenv.dotenv_values(file).items() if v is not None} if file.is_file() else {}
        )
        found = {**values, **self.site.settings.environ}
        if self.target.context:
            found.pop("DOCKER_HOST", None)
            found["DOCKER_CONTEXT"] = self.target.context
        return found

    @cached_property
    def docker(self) -> DockerEngine:
        """The engine."""
        return DockerEngine(self.environ)

    def render(self) -> Project:
        """The project as it is declared now. Raises UsageError, CommandMissing, CommandFailed."""
        model = self.tool(None).model(self.files, profiles=self.profiles, env_file=None)
        on = switched_on(model, self.profiles)
        return make_project(
            self.target.project, on, self.environ, secret_names=self._secret_variables, read=self._read
        )

    def hands(self) -> engine.Hands:
        """What a deploy works with."""
        return engine.Hands(self.tool, self.docker, self.place)

    def place(self, project: Project) -> Path:
        """Write a project for Compose, with its files, and return where."""
        folder = self.site.state / "compose"
        files = folder / "files"
        for path, content in pinned_files(project):
            at = files / path
            if not at.is_file() or at.read_text(encoding="utf-8") != content:
                write_whole(at, content)
        model = placed(project, str(files), self._labels(project))
        text = json.dumps(model, indent=1, sort_keys=True)
        file = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
        if not file.is_file():
            write_whole(file, text)
        return file

    def tool(self, project: Project | None) -> Compose:
        """Compose; with what a project's variables stand for, where one is given. Raises SecretMissing."""
        if project is None:
            return Compose(self.target.project, self.directory, self.environ)
        values = self._values(project.references)
        environ = {**self.environ, **project.variables, **values}
        return Compose(project.name, self.directory, environ, tuple(values.values()))

    def values_or_errors(self, project: Project) -> dict[str, str | None]:
        """Value of each secret variable; None where it cannot be had."""
        found: dict[str, str | None] = {}
        for name in project.references:
            try:
                found[name] = self._values([name]).get(name)
            except OpsError:
                found[name] = None
        return found

    def _values(self, names: Sequence[str]) -> dict[str, str]:
        """Values of variables that are secrets: the stack's by their references, others from the environment."""
        declared = self._secret_variables
        found: dict[str, str] = {}
        for name in names:
            value = secret(self.site, declared[name]) if name in declared else self.environ.get(name)
            if value is not None:
                found[name] = value
        return found

    @cached_property
    def _secret_variables(self) -> dict[str, str]:
        """Variable -> name of the stack's secret that refers to it."""
        return {
            reference.target: name
            for name, reference in self.site.stack.secrets.items()
            if reference.kind == "environment"
        }

    def _labels(self, project: Project) -> dict[str, dict[str, str]]:
        """A label that changes with the secrets that a service receives as files: Compose's own hash does not."""
        labels: dict[str, dict[str, str]] = {}
        for service in project.services:
            names = secret_variables(project.model, service)
            if names:
                values = self._values(names)
                text = "\0".join(f"{name}={values.get(name, '')}" for name in sorted(names))
                digest = hmac.new(self._salt, text.encode(), hashlib.sha256).hexdigest()
                labels[service] = {_SECRETS_LABEL: digest[:16]}
        return labels

    @cached_property
    def _salt(self) -> bytes:
        file = self.site.state / "compose" / _SALT
        if not file.is_file():
            write_whole(file, random_secrets.token_hex(32), private=True)
        return file.read_bytes()

    def _read(self, source: str) -> str | None:
        path = Path(source)
        inside = path.is_relative_to(self.directory) or path.is_relative_to(self.site.folder)
        if not inside or not path.is_file() or path.stat().st_size > _LARGEST:
            return None
        try:
            return path.read_text(encoding="utf-8")
        except ValueError:  # not a text: data
            return None


def plan(site: Site, *, to: int | None = None) -> Plan:
    """What a deploy (or going back to revision `to`) would change."""
    here = ComposeSite(site)
    if to is None:
        return engine.plan(f"Deploy {site.name}", wanted(here), here.hands())
    earlier = revisions.read(site, to)
    found = engine.plan(f"go back to revision {to} of {site.name}", from_json(earlier.artifact), here.hands())
    return replace(found, warnings=(*revisions.differences(site, earlier), *found.warnings))


def wanted(here: ComposeSite) -> Project:
    """The project as declared, with the replicas that scaling has chosen, which a deploy must not undo."""
    project, standing = here.render(), before(here.site)
    for rule in here.site.stack.scaling.values():
        chooses = rule.mode != "observe" and rule.owner == "ops-pipelines"
        if standing is None or not chooses or rule.component not in project.services:
            continue
        count = replicas_of(standing, rule.component) if rule.component in standing.services else None
        if count is not None:
            project = with_replicas(project, rule.component, min(max(count, rule.minimum), rule.maximum))
    return project


def preflight(site: Site) -> tuple[Finding, ...]:
    """Everything that a deploy needs, the good findings too."""
    from ops_pipelines.wiring import compose_preflight

    return compose_preflight.findings(ComposeSite(site))


def before(site: Site) -> Project | None:
    """The project of the newest revision; None where none was deployed on this target."""
    found = revisions.newest(site)
    return from_json(found.artifact) if found is not None and found.target == "compose" else None


def deploy(site: Site, *, earlier: Revision | None, by: str, fence: Fence, progress: Progress) -> Deployed:
    """Deploy what is declared, or the `earlier` revision, under the stack's lease."""
    here = ComposeSite(site)
    findings = preflight(site)
    refuse(findings)
    project = wanted(here) if earlier is None else from_json(earlier.artifact)
    note = "deploy" if earlier is None else f"rollback to {earlier.number}"
    return engine.deploy(
        site.name,
        project,
        here.hands(),
        before=before(site),
        fence=fence,
        record=lambda done: revisions.record(site, to_json(done), by, note, of=earlier),
        smoke=lambda: asking.smoke(site) if earlier is None else asking.for_information(asking.smoke(site)),
        within=within(site),
        reason="deploy" if earlier is None else "rollback",
        findings=findings,
        progress=progress,
    )


def within(site: Site) -> float:
    """Seconds that the whole project may take to become healthy: along the slowest chain of what waits for what."""
    components, longest = site.stack.components, dict[str, float]()

    def chain(name: str) -> float:
        if name not in longest:
            one = components[name]
            longest[name] = one.health.within + max((chain(d) for d in one.depends_on), default=0.0)
        return longest[name]

    return max((chain(name) for name in components), default=_SLACK) + _SLACK


def scale(site: Site, component: str, count: int, fence: Fence) -> None:
    """Bring one service to `count` containers. Raises UsageError for a stack that was never deployed."""
    standing = before(site)
    if standing is None or component not in standing.services:
        raise UsageError(
            f"{site.name} was never deployed with a component {component}, so there is nothing to scale",
            remedy=f"deploy it first: ops-pipelines deploy {site.name}",
        )
    here = ComposeSite(site)
    project = with_replicas(standing, component, count)
    engine.deploy(
        site.name,
        project,
        here.hands(),
        before=standing,
        fence=fence,
        record=lambda done: revisions.record(
            site, to_json(done), "scaling", revisions.scale_note(component, count)
        ),
        smoke=no_smoke,
        within=within(site),
        reason=f"scaling of {component} to {count}",
    )


def status(site: Site) -> tuple[ReplicaStatus, ...]:
    """Each container of the project, and each service that has none."""
    here = ComposeSite(site)
    seen = [one for one in here.docker.containers(here.target.project) if not one.oneoff]
    rows = [_row(site, one) for one in seen]
    absent = [name for name in site.stack.components if name not in {one.service for one in seen}]
    rows += [
        ReplicaStatus(name, name, "stopped", False, detail="is not deployed")
        for name in absent
        if site.stack.components[name].replicas
        and site.stack.components[name].address is None
        and site.stack.components[name].compose_profile in (None, *here.profiles)
    ]
    return tuple(rows)


def _row(site: Site, container: Container) -> ReplicaStatus:
    healthy, words = replica_health(container)
    known = container.service in site.stack.components
    return ReplicaStatus(
        container.service,
        container.name,
        _STATES[container.state],
        healthy,
        uptime=None,
        detail=words if known else f"{words}; the declaration does not name it",
    )


def replica_numbers(site: Site, component: str) -> tuple[int, ...] | None:
    """Numbers of a component's containers that run; None where that is unknown."""
    here = ComposeSite(site)
    try:
        seen = here.docker.containers(here.target.project)
    except OpsError:
        return None
    return tuple(one.number for one in seen if one.service == component and one.state == "running")


def drift(site: Site) -> Plan:
    """What differs between what runs and what is declared."""
    here = ComposeSite(site)
    return engine.plan(f"Drift of {site.name}", wanted(here), here.hands())


def running(site: Site, components: Sequence[str]) -> tuple[str, ...]:
    """Names of the containers of some components that run or would run again by themselves."""
    here = ComposeSite(site)
    return tuple(
        one.name
        for one in here.docker.containers(here.target.project)
        if one.service in components and one.state in ("running", "restarting")
    )


def halt(site: Site, name: str) -> None:
    """Stop one container for a while."""
    ComposeSite(site).docker.stop(name)


def resume(site: Site, name: str) -> bool:
    """Start one that `halt` stopped; False where it is not there any more."""
    here = ComposeSite(site)
    if name not in {one.name for one in here.docker.containers(here.target.project)}:
        return False
    here.docker.start(name)
    return True


def down(site: Site, *, volumes: bool, fence: Fence) -> Plan:
    """Stop and remove the project's containers and networks, and its volumes where asked; what was done."""
    here = ComposeSite(site)
    steps = down_plan(site, volumes=volumes)
    fence.check()
    here.tool(None).down(None, volumes=volumes, within=_DOWN)
    return steps


def down_plan(site: Site, *, volumes: bool) -> Plan:
    """What `down` would remove."""
    here = ComposeSite(site)
    seen = here.docker.containers(here.target.project)
    kept = here.docker.volumes(here.target.project)
    steps = [Step("remove", f"container/{one.name}", f"it is {one.state}") for one in seen]
    verb: Verb = "remove" if volumes else "keep"
    steps += [
        Step(verb, f"volume/{name}", "with all that is in it" if volumes else "") for name in kept.values()
    ]
    return Plan(f"Take {site.name} down", tuple(steps))


def logs(site: Site, component: str | None, *, lines: int, follow: bool) -> int:
    """Show what containers print, on this terminal; 0 where that went well."""
    here = ComposeSite(site)
    project = before(site) or here.render()
    if component is not None and component not in project.services:
        raise UsageError(
            f"{site.name} has no service {component!r}", remedy=f"its services: {', '.join(project.services)}"
        )
    return here.tool(project).logs(here.place(project), component, lines=lines, follow=follow)


def build(site: Site, components: Sequence[str]) -> int:
    """Build the images of the services that have a build section; 0 where that went well."""
    here = ComposeSite(site)
    project = here.render()
    return here.tool(project).build(here.place(project), components)
