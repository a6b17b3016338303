"""What scaling remembers between two looks, in files of the stack's local state.

    <rule>.means.json     sums and counts of histograms, written by the sensor alone
    <rule>.explain.json   the same, as whoever else looked saw them
    <rule>.changed.json   when replicas were last changed, written before that is begun

Each is written whole by one kind of writer, so that none undoes what another has noted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from ops_pipelines.adapters.prometheus import Memory
from ops_pipelines.wiring.files import write_whole
from ops_pipelines.wiring.site import Site


@contextmanager
def means(site: Site, rule: str) -> Iterator[Memory]:
    """The sensor's memory of histograms; what is in it at the end is kept."""
    path = _path(site, rule, "means")
    memory = _read_means(path)
    yield memory
    write_whole(path, json.dumps(memory))


@contextmanager
def means_beside(site: Site, rule: str) -> Iterator[Memory]:
    """The same for whoever looks beside the sensor: it takes the newest reading there is, and takes nothing away
    from the sensor's."""
    path = _path(site, rule, "explain")
    memory = _read_means(path)
    for key, seen in _read_means(_path(site, rule, "means")).items():
        if key not in memory or memory[key][2] < seen[2]:
            memory[key] = seen
    yield memory
    write_whole(path, json.dumps(memory))


def changed(site: Site, rule: str) -> datetime | None:
    """When replicas were last changed, as far as this machine knows."""
    try:
        at = datetime.fromisoformat(
            json.loads(_path(site, rule, "changed").read_text(encoding="utf-8"))["at"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return at if at.tzinfo is not None else None


def note_change(site: Site, rule: str, at: datetime) -> None:
    """Note that replicas are about to be changed."""
    write_whole(_path(site, rule, "changed"), json.dumps({"at": at.isoformat()}))


def _path(site: Site, rule: str, word: str) -> Path:
    return site.state / "scaling" / f"{rule}.{word}.json"


def _read_means(path: Path) -> Memory:
    memory: Memory = {}
    try:
        for key, seen in json.loads(path.read_text(encoding="utf-8")).items():
            total, count, at = (float(number) for number in seen)
            memory[key] = (total, count, at)
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
    return memory
