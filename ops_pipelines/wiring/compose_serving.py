"""Services of a Compose project started for a while beside it, on other folders and ports: to prove a restored model.

They are a project of their own with none of the live one's volumes, published ports or dependencies, and
are gone when the `with` ends. What a killed process left is removed by the next one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

import structlog

from ops_pipelines.adapters.machine import port_aside
from ops_pipelines.engines import compose as engine
from ops_pipelines.engines.ports import silent
from ops_pipelines.errors import OpsError
from ops_pipelines.policy.compose_project import stand_in
from ops_pipelines.wiring.compose_site import ComposeSite, within
from ops_pipelines.wiring.connect import caches as live_caches
from ops_pipelines.wiring.site import Site

log = structlog.get_logger()

_STOP = 120.0


@contextmanager
def serving(
    site: Site, components: Iterable[str], caches: Mapping[str, str], *, word: str
) -> Iterator[Mapping[str, str]]:
    """Start one container of each component; yields component -> address.

    `caches` gives the folders that they work on, by name of the cache; where it is empty, the live ones are meant.
    Raises DeployFailed where one does not become healthy, with the end of its log."""
    here = ComposeSite(site)
    wanted = [name for name in dict.fromkeys(components) if site.stack.components[name].address is None]
    folders = {site.stack.caches[name].path: folder for name, folder in (caches or _live(site)).items()}
    taken: list[int] = []
    ports: dict[str, tuple[int, int]] = {}
    project = here.project
    resolved = here.tool(project).resolved(here.place(project))
    for name in wanted:
        inner = _inner_port(site, name, resolved)
        if inner is not None:
            ports[name] = (inner, port_aside(taken))
    aside = stand_in(project, f"{project.name}--{word}", wanted, folders=folders, ports=ports)
    hands = here.hands()
    file = here.place(aside)
    tool = here.tool(aside)
    tool.down(None, volumes=True, within=_STOP)
    try:
        tool.up(file, within=within(site))
        engine.await_healthy(aside, hands, within(site), silent)
        yield {name: f"http://127.0.0.1:{outer}" for name, (_, outer) in ports.items()}
    finally:
        try:
            tool.down(None, volumes=True, within=_STOP)
        except OpsError as error:  # it must not hide what went wrong before: the next one clears up then
            log.warning("serving.left", project=aside.name, error=error.message)
        with suppress(OSError):
            file.unlink(missing_ok=True)


def _live(site: Site) -> dict[str, str]:
    """The stack's own folders, to fill them; made where they are not there yet, for whom the one above is."""
    found = {}
    for name, (folder, *_) in live_caches(site).items():
        missing = [each for each in (folder, *folder.parents) if not each.exists()]
        for each in reversed(missing):
            each.mkdir(exist_ok=True)
            above = each.parent.stat()
            os.chown(each, above.st_uid, above.st_gid)
        found[name] = str(folder)
    return found


def _inner_port(site: Site, component: str, resolved: Mapping[str, object]) -> int | None:
    """Port inside the container behind the component's `http` port."""
    declared = site.stack.components[component]
    outer = declared.ports.get("http") or next(iter(declared.ports.values()), None)
    services = resolved.get("services")
    service = services.get(component, {}) if isinstance(services, Mapping) else {}
    for port in service.get("ports") or ():
        if str(port.get("published")) == str(outer):
            return int(port["target"])
    return outer
