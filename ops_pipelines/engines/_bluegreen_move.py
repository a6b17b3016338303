"""Traffic of a Compose project moved between two versions: the proxies' files changed, checked, read anew."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from ops_pipelines.engines.ports import Proxies
from ops_pipelines.errors import DeployFailed
from ops_pipelines.policy.bluegreen_project import LiveFile, moved

_RELOAD = 30.0
"""Seconds that a proxy may take until new processes of it are there."""
_POLL = 0.1

Workers = Mapping[str, frozenset[int]]
"""Container of a proxy -> its processes."""


def astray(proxies: Proxies) -> tuple[LiveFile, ...]:
    """Files that do not say what is declared: a move that was not undone."""
    return tuple(one for one in proxies.files() if one.path.read_text(encoding="utf-8") != one.declared)


def mend_idle(proxies: Proxies) -> None:
    """Bring files that no running proxy reads to what is declared: the next proxy starts with them."""
    for one in astray(proxies):
        if not one.users:
            proxies.write(one, one.declared)


def point(proxies: Proxies, names: Mapping[str, str]) -> Workers:
    """Have every proxy send what is for a name to the one that `names` gives; to the declared one where it gives none.

    Returns the processes that served until then. Raises DeployFailed where a proxy would not take its new text (the old
    one is put back, and was never left), or did not read it."""
    files = [one for one in proxies.files() if one.users]
    before = {one.path: one.path.read_text(encoding="utf-8") for one in files}
    containers = {container: service for one in files for container, service in one.users}
    for one in files:
        proxies.write(one, moved(one.declared, names))
    if names:
        _checked(proxies, files, before, containers)
    old = {container: proxies.workers(container) for container in containers}
    for container in containers:
        proxies.reload(container)
    end = time.monotonic() + _RELOAD
    for container, service in containers.items():
        while not proxies.workers(container) - old[container]:
            if time.monotonic() > end:
                raise DeployFailed(
                    f"{service} ({container}) did not read its configuration anew within {_RELOAD:.0f} s",
                    remedy="run HAProxy with -W; a shell in front of a proxy must `exec` it, or set `init: true`",
                )
            time.sleep(_POLL)
    return old


def _checked(
    proxies: Proxies, files: list[LiveFile], before: Mapping[Path, str], containers: Mapping[str, str]
) -> None:
    bad = {service: words for container, service in containers.items() if (words := proxies.check(container))}
    if bad:
        for one in files:
            proxies.write(one, before[one.path])
        service, words = next(iter(bad.items()))
        raise DeployFailed(
            f"{service} would not take its configuration with the traffic moved: {words}",
            remedy="mend what it names; nothing was moved",
        )


def drain(proxies: Proxies, old: Workers, within: float) -> int:
    """Wait until the old processes have ended what they began; how many are left after `within` seconds."""
    end = time.monotonic() + within
    while True:
        left = sum(len(pids & proxies.workers(container)) for container, pids in old.items())
        if not left or time.monotonic() >= end:
            return left
        time.sleep(_POLL)
