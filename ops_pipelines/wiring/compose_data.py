"""Folders of this machine behind the volumes of a Compose project: what a cache or a volume of the stack means there.

A `path` of the declaration is then the path inside the container; the container's mounts say what lies behind it. Data
is read and put back there, by a process that may read Docker's folders.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from ops_pipelines.errors import TargetUnsupported
from ops_pipelines.policy.compose_plan import Mount, behind
from ops_pipelines.policy.compose_project import volume_name
from ops_pipelines.wiring.compose_site import ComposeSite
from ops_pipelines.wiring.site import Site


def folders(site: Site, what: str, path: str, replicas: int, components: Iterable[str]) -> tuple[Path, ...]:
    """Folder of each replica. `what` names it in errors, `components` are those that mount it.

    Where no container is there (before the first deploy, after `down`), the volume's own place is asked of the engine.
    Raises TargetUnsupported where nothing mounts it, or where this process cannot read it."""
    here = ComposeSite(site)
    names = tuple(components)
    inside = PurePosixPath(path.replace("{replica}", "0"))
    found = [
        folder
        for mounts in here.docker.mounts(here.target.project, names)
        if (folder := behind(inside, mounts)) is not None
    ] or _declared(here, inside, names)
    unique = tuple(dict.fromkeys(found))
    if not unique:
        raise TargetUnsupported(
            f"{what} of {site.name} is {path}, and no container of {', '.join(names) or 'any component'} mounts it",
            remedy="name the path inside the container, below a volume or a mounted folder of the Compose files",
        )
    if len(unique) == 1 and replicas > 1:
        unique *= replicas  # one volume that all replicas share
    if len(unique) < replicas:
        raise TargetUnsupported(
            f"{what} of {site.name} has {replicas} replicas, and {len(unique)} containers mount it",
            remedy="deploy the stack, or declare as many replicas as there are",
        )
    return tuple(_readable(what, Path(folder)) for folder in unique[:replicas])


def make_volumes(site: Site) -> None:
    """Make the project's volumes that are not there, as Compose would: what is pulled before the first start needs
    a place to lie."""
    here = ComposeSite(site)
    project = here.project
    for name, declared in (project.model.get("volumes") or {}).items():
        if not (declared or {}).get("external") and not (declared or {}).get("driver"):
            here.docker.make_volume(volume_name(project, name), project.name, name)


def _declared(here: ComposeSite, inside: PurePosixPath, components: tuple[str, ...]) -> list[str]:
    """The same by the project's files and the volumes that are there."""
    project = here.project
    found = []
    for component in components:
        mounts = []
        for one in (project.services.get(component) or {}).get("volumes") or ():
            if not isinstance(one, dict) or not one.get("source"):
                continue
            source = str(one["source"])
            if one.get("type") == "volume":
                name = volume_name(project, source)
                source = here.docker.mountpoint(name) or f"{here.docker.info().root}/volumes/{name}/_data"
            mounts.append(Mount(str(one["target"]), source))
        folder = behind(inside, mounts)
        if folder is not None:
            found.append(folder)
    return found


def _readable(what: str, folder: Path) -> Path:
    """The folder, where this process can look into it, or into the nearest one above it that is there."""
    nearest = folder
    while not nearest.exists() and nearest != nearest.parent:
        if not os.access(nearest.parent, os.X_OK) and nearest.parent.exists():
            break
        nearest = nearest.parent
    if nearest.exists() and os.access(nearest, os.R_OK | os.X_OK) and nearest != Path("/"):
        return folder
    raise TargetUnsupported(
        f"{what} lies at {folder}, which cannot be read from here",
        remedy="run ops-pipelines on the machine of the Docker Engine, as a user that may read its volumes (root), "
        "or mount a folder of that user's in place of the volume",
    )
