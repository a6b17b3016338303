"""Folders of this machine behind the volumes of a Compose project: what a cache or a volume of the stack means there.

A `path` of the declaration is then the path inside the container; the container's mounts say what lies behind it. Data
is read and put back there, by a process that may read Docker's folders, or by a one-off container.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from ops_pipelines.errors import TargetUnsupported
from ops_pipelines.policy.compose_plan import Behind, Mount, behind
from ops_pipelines.policy.compose_project import volume_name
from ops_pipelines.policy.one_off import Where, choose
from ops_pipelines.wiring import beside
from ops_pipelines.wiring.compose_site import ComposeSite, compose_site
from ops_pipelines.wiring.site import Site


def where(site: Site) -> Where:
    """Who moves the data of the stack's volumes and caches: this process, or a container on the engine."""
    here = compose_site(site)
    away = None if here.docker.is_local else str(here.docker.address)
    unreadable: list[str] = []
    if here.target.data.by == "auto" and away is None:
        parts = [("model_cache", name) for name in site.stack.caches] + [
            ("volume", n) for n in site.stack.volumes
        ]
        for kind, name in parts:
            unreadable += [one.folder for one in places(here, kind, name) if not can_read(Path(one.folder))]
    return choose(here.target.data.by, away, unreadable)


def by_container(site: Site) -> bool:
    """Whether a container moves the stack's data."""
    return site.stack.target.kind == "compose" and where(site).container


def folders(site: Site, kind: str, name: str) -> tuple[Path, ...]:
    """Folder of each replica of a cache (`model_cache`) or `volume`.

    Raises TargetUnsupported where nothing mounts it, or where this process cannot read it."""
    return tuple(_readable(f"{kind}/{name}", Path(one.folder)) for one in sides(site, kind, name))


def sides(site: Site, kind: str, name: str) -> tuple[Behind, ...]:
    """What lies behind each replica of a cache or a volume, on the engine's machine.

    Where no container is there (before the first deploy, after `down`), the volume's own place is asked of the engine.
    Raises TargetUnsupported where nothing mounts it."""
    declared = (site.stack.caches if kind == "model_cache" else site.stack.volumes)[name]
    unique, replicas = places(compose_site(site), kind, name), declared.replicas
    if not unique:
        names = beside.users(site, kind, name)
        raise TargetUnsupported(
            f"{kind}/{name} of {site.name} is {declared.path}, and no container of "
            f"{', '.join(names) or 'any component'} mounts it",
            remedy="name the path inside the container, below a volume or a mounted folder of the Compose files",
        )
    if len(unique) == 1 and replicas > 1:
        unique *= replicas  # one volume that all replicas share
    if len(unique) < replicas:
        raise TargetUnsupported(
            f"{kind}/{name} of {site.name} has {replicas} replicas, and {len(unique)} containers mount it",
            remedy="deploy the stack, or declare as many replicas as there are",
        )
    return unique[:replicas]


def unused(site: Site, kind: str, name: str) -> bool:
    """Whether only components of Compose profiles that are switched off use a cache or a volume, and the engine has
    none of it: there is nothing to back up then. What is left of a profile that was on is data as any other."""
    if site.stack.target.kind != "compose":
        return False
    here, names = compose_site(site), beside.users(site, kind, name)
    on = (None, *here.profiles)
    if not names or any(site.stack.components[one].compose_profile in on for one in names):
        return False
    return all(one.volume and here.docker.mountpoint(one.volume) is None for one in places(here, kind, name))


def places(here: ComposeSite, kind: str, name: str) -> tuple[Behind, ...]:
    """What lies behind a cache or a volume, each place once; nothing where no component mounts it."""
    site = here.site
    declared = (site.stack.caches if kind == "model_cache" else site.stack.volumes)[name]
    names = beside.users(site, kind, name)
    inside = PurePosixPath(declared.path.replace("{replica}", "0"))
    found = [
        one
        for mounts in here.docker.mounts(here.target.project, names)
        if (one := behind(inside, mounts)) is not None
    ] or _declared(here, inside, names)
    return tuple(dict.fromkeys(found))


def make_volumes(site: Site) -> None:
    """Make the project's volumes that are not there, as Compose would: what is pulled before the first start needs
    a place to lie. Those that only switched-off services use are left alone."""
    here = compose_site(site)
    project = here.project
    used = {
        str(one["source"])
        for service in project.services.values()
        for one in service.get("volumes") or ()
        if isinstance(one, dict) and one.get("source")
    }
    for name, declared in (project.model.get("volumes") or {}).items():
        if name not in used:
            continue
        if not (declared or {}).get("external") and not (declared or {}).get("driver"):
            here.docker.make_volume(volume_name(project, name), project.name, name)


def _declared(here: ComposeSite, inside: PurePosixPath, components: tuple[str, ...]) -> list[Behind]:
    """The same by the project's files and the volumes that are there."""
    project = here.project
    if any(one not in project.services for one in components):
        project = here.of_all_profiles
    found = []
    for component in components:
        mounts = []
        for one in (project.services.get(component) or {}).get("volumes") or ():
            if not isinstance(one, dict) or not one.get("source"):
                continue
            source, name = str(one["source"]), ""
            if one.get("type") == "volume":
                name = volume_name(project, source)
                source = here.docker.mountpoint(name) or f"{here.docker.info().root}/volumes/{name}/_data"
            mounts.append(Mount(str(one["target"]), source, name))
        folder = behind(inside, mounts)
        if folder is not None:
            found.append(folder)
    return found


def _readable(what: str, folder: Path) -> Path:
    """The folder, where this process can look into it, or into the nearest one above it that is there."""
    if can_read(folder):
        return folder
    raise TargetUnsupported(
        f"{what} lies at {folder}, which cannot be read from here",
        remedy="run ops-pipelines on the machine of the Docker Engine, as a user that may read its volumes (root), "
        "or let a container do it: `target.data.by: container`",
    )


def can_read(folder: Path) -> bool:
    """Whether this process can look into a folder, or into the nearest one above it that is there."""
    nearest = folder
    while not nearest.exists() and nearest != nearest.parent:
        if not os.access(nearest.parent, os.X_OK) and nearest.parent.exists():
            break
        nearest = nearest.parent
    return nearest.exists() and os.access(nearest, os.R_OK | os.X_OK) and nearest != Path("/")
