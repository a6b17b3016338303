"""Components of a stack started for a while on free ports: to prove a restored model, or to fill a store.

They run by names of their own, and are gone when the `with` ends. What a killed process left is removed by the
next one. Where the stack's supervisord does not run, theirs is one of their own: starting that of the stack would
start the stack.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import structlog

from ops_pipelines.adapters.machine import port_aside
from ops_pipelines.adapters.supervisor import Supervisord
from ops_pipelines.engines._deploy_apply import NotHealthyError, await_healthy
from ops_pipelines.errors import DeployFailed, OpsError
from ops_pipelines.policy.processes import Program
from ops_pipelines.policy.programs import endpoints, render_programs
from ops_pipelines.stack.model import Stack
from ops_pipelines.wiring import compose_serving
from ops_pipelines.wiring.connect import places, supervisor, tools
from ops_pipelines.wiring.site import Site

log = structlog.get_logger()


@contextmanager
def serving(
    site: Site, components: Iterable[str], caches: Mapping[str, str], *, word: str
) -> Iterator[Mapping[str, str]]:
    """Start one replica of each component; yields component -> address.

    `caches` gives other folders than the declared ones, by name of the cache. Raises DeployFailed where one
    does not become healthy, with the end of its log.
    """
    if site.stack.target.kind == "compose":
        with compose_serving.serving(site, components, caches, word=word) as addresses:
            yield addresses
        return
    copy = _copy(site.stack, set(components), caches, word)
    programs = render_programs(copy, places(site))
    with _manager(site, word) as manager:
        remove_leftovers(manager, copy.stack)
        try:
            for program in programs:
                manager.apply(program, manager.secrets(program))
            _await(site, manager, programs)
            yield {name: found[0] for name, found in endpoints(copy).items() if found}
        finally:
            _clear(manager, copy.stack)


@contextmanager
def _manager(site: Site, word: str) -> Iterator[Supervisord]:
    usual = supervisor(site.settings)
    if usual.running():
        yield usual
        return
    aside = Supervisord(site.state / f"supervisor-{word}", site.settings.environ)
    aside.ensure_running()
    try:
        yield aside
    finally:
        try:
            aside.shutdown()
        except OpsError as error:  # it must not hide what went wrong before
            log.warning("serving.left", supervisord=str(aside.folder.path), error=error.message)


def remove_leftovers(manager: Supervisord, prefix: str) -> None:
    """Stop and forget every program of a stand-in stack."""
    for name in manager.status():
        if name.startswith(f"{prefix}."):
            manager.remove(name)


def _clear(manager: Supervisord, prefix: str) -> None:
    """The same at the end, where it must not hide what went wrong before: the next one clears up then."""
    try:
        remove_leftovers(manager, prefix)
    except OpsError as error:
        log.warning("serving.left", programs=prefix, error=error.message)


def _copy(stack: Stack, wanted: set[str], caches: Mapping[str, str], word: str) -> Stack:
    taken: list[int] = []
    components = {}
    for name, component in stack.components.items():
        if name not in wanted or component.address is not None:
            continue
        ports = {port: port_aside(taken) for port in component.ports}
        changes = {"replicas": 1, "ports": ports, "depends_on": []}
        components[name] = component.model_copy(update=changes)
    folders = {
        name: cache.model_copy(update={"path": caches.get(name, cache.path), "replicas": 1})
        for name, cache in stack.caches.items()
    }
    return stack.model_copy(
        update={"stack": f"{stack.stack}--{word}", "components": components, "caches": folders}
    )


def _await(site: Site, manager: Supervisord, programs: Sequence[Program]) -> None:
    """Wait until all answer, and are themselves what answers on their ports."""
    try:
        await_healthy(programs, tools(manager, site.settings))
    except NotHealthyError as error:
        tail = manager.log_tail(error.program.name)
        for value in manager.secrets(error.program).values():
            tail = tail.replace(value, "***") if value else tail
        raise DeployFailed(
            f"{error.program.name} {error.why}\n{tail}",
            remedy="read its last lines above; the live stack was not touched",
        ) from error
