"""What the pods of a stack print, on this terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from threading import Thread

from ops_pipelines.engines._kube_needs import Object
from ops_pipelines.errors import OpsError, UsageError
from ops_pipelines.policy.kube_objects import containers_of
from ops_pipelines.wiring.kube_site import KubeSite
from ops_pipelines.wiring.kube_state import names_of, seen
from ops_pipelines.wiring.site import Site


def logs(site: Site, component: str | None, *, lines: int, follow: bool) -> int:
    """Show what pods print, on this terminal; 0 where that went well."""
    here = KubeSite(site)
    found = seen(here)
    names = names_of(here, found)
    known = sorted({names.get(one.key, one.key.name) for one in found})
    if component is not None and component not in known:
        raise UsageError(
            f"{site.name} has no workload of {component!r}", remedy=f"there are: {', '.join(known) or 'none'}"
        )
    places = [
        (pod, str(container["name"]))
        for one in found
        if component in (None, names.get(one.key, one.key.name))
        for pod in one.every
        for container in containers_of(pod)
    ]
    bad: list[OpsError] = []

    def show(pod: Object, container: str) -> None:
        try:
            for line in _lines(here, pod, container, lines, follow):
                sys.stdout.write(f"{pod['metadata']['name']} {container} | {line}\n")
                sys.stdout.flush()
        except OpsError as error:
            bad.append(error)

    workers = [Thread(target=show, args=place, daemon=True) for place in places]
    for worker in workers:
        worker.start()
        if not follow:
            worker.join()
    try:
        for worker in workers:
            worker.join()
    except KeyboardInterrupt:
        return 0
    for error in bad:
        sys.stderr.write(f"{error.message}\n")
    return 1 if bad else 0


def _lines(here: KubeSite, pod: Object, container: str, lines: int, follow: bool) -> Iterator[str]:
    meta = pod["metadata"]
    return here.cluster.follow(meta["namespace"], meta["name"], container, lines=lines, follow=follow)
