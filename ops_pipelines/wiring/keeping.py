"""What restores of one stack have kept: listed, and removed when a person says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import structlog

from ops_pipelines.engines.parts.kept import (
    Keeper,
    KeptFolders,
    KeptPlace,
)
from ops_pipelines.engines.restore import pending_restore
from ops_pipelines.errors import OpsError, Refused, UsageError
from ops_pipelines.policy.plan import Finding, Plan, Step
from ops_pipelines.policy.words import size_in_words
from ops_pipelines.wiring.buckets import bucket_keeper
from ops_pipelines.wiring.connect import caches, lease, now
from ops_pipelines.wiring.databases import database_keeper
from ops_pipelines.wiring.kept_times import dated
from ops_pipelines.wiring.site import Site
from ops_pipelines.wiring.vectors import collection_keeper
from ops_pipelines.wiring.volumes import volume_folders

log = structlog.get_logger()


@dataclass(frozen=True)
class Kept:
    """What was found."""

    places: tuple[KeptPlace, ...]
    unknown: tuple[Finding, ...]
    """Parts of which nobody could tell what is kept."""


def kept(site: Site) -> Kept:
    """What restores have kept of every part of the stack. A part that cannot be asked is unknown, not empty."""
    places: list[KeptPlace] = []
    unknown: list[Finding] = []
    for key, make in _keepers(site):
        try:
            places += make().kept()
        except OpsError as error:
            unknown.append(Finding(key, None, f"what is kept is unknown: {error.message}", error.remedy))
    return Kept(dated(site.state, tuple(places)), tuple(unknown))


def plan_removal(site: Site, names: tuple[str, ...], *, everything: bool = False) -> Plan:
    """What `remove` would remove. Raises UsageError for a name that is not kept, Refused where that is unknown."""
    chosen = _chosen(site, kept(site), names, everything=everything)
    steps = tuple(
        Step("remove", place.part, f"{place.name}{_what(place)}{_age(place, now())}") for place in chosen
    )
    return Plan(f"Remove what restores of {site.name} have kept", steps)


def remove(site: Site, names: tuple[str, ...], *, everything: bool = False, by: str) -> tuple[KeptPlace, ...]:
    """Remove what is kept, under the stack's lease. Raises as `plan_removal`, and Refused for what is live, or while
    a restore is not finished: it may still need the old content."""
    done: list[KeptPlace] = []
    with lease(site, f"remove what restores kept ({by})") as fence:
        if pending := pending_restore(site.state, site.name):
            raise Refused(
                f"the restore of {pending.snapshot} was cut off and is not finished: it may need what is kept",
                remedy=f"finish it: ops-pipelines restore {site.name} {pending.snapshot} --apply",
            )
        keepers = dict(_keepers(site))
        for place in _chosen(site, kept(site), names, everything=everything):
            fence.check()
            try:
                keepers[place.part]().remove(place.name)
            except OSError as error:
                raise Refused(
                    f"{place.name} could not be removed: {error.strerror or error}",
                    remedy="mend its rights; the same command again goes on",
                ) from error
            log.info("kept place removed", stack_name=site.name, part=place.part, place=place.name)
            done.append(place)
    return tuple(done)


def _chosen(site: Site, found: Kept, names: tuple[str, ...], *, everything: bool) -> tuple[KeptPlace, ...]:
    by_name = {place.name: place for place in found.places}
    missing = [name for name in names if name not in by_name]
    if found.unknown and (everything or missing):
        first = found.unknown[0]
        raise Refused(f"{first.subject}: {first.message}; nothing was removed", remedy=first.remedy)
    if missing:
        raise UsageError(
            f"no restore of {site.name} has kept {missing[0]}",
            remedy=f"`ops-pipelines kept {site.name}` lists what is kept: {', '.join(by_name) or 'nothing'}",
        )
    return found.places if everything else tuple(by_name[name] for name in dict.fromkeys(names))


def _what(place: KeptPlace) -> str:
    words = [place.detail, "" if place.size is None else size_in_words(place.size)]
    said = ", ".join(word for word in words if word)
    return f": {said}" if said else ""


def _age(place: KeptPlace, at: datetime) -> str:
    return "" if place.made is None else f", {age_in_words(place.made, at)} old"


def age_in_words(made: datetime, at: datetime) -> str:
    """How long ago, in the largest unit that fits."""
    seconds = max(0, int((at - made).total_seconds()))
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} seconds"


def _keepers(site: Site) -> Iterator[tuple[str, Callable[[], Keeper]]]:
    """By part: what makes its keeper, which may fail where its place cannot be reached."""
    for name in site.stack.caches:
        key = f"model_cache/{name}"
        yield key, partial(lambda key, name: KeptFolders(key, caches(site)[name]), key, name)
    for name in site.stack.collections:
        yield f"collection/{name}", partial(collection_keeper, site, name)
    for name in site.stack.databases:
        yield f"database/{name}", partial(database_keeper, site, name)
    for name in site.stack.volumes:
        key = f"volume/{name}"
        yield key, partial(lambda key, name: KeptFolders(key, volume_folders(site, name)), key, name)
    for name in site.stack.buckets:
        yield f"bucket/{name}", partial(bucket_keeper, site, name)
