"""What Helm has recorded of a release, and how a record that was left unfinished is mended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import structlog
import yaml

from ops_pipelines.engines._kube_needs import Hands, Object
from ops_pipelines.errors import ClusterRefused, Refused
from ops_pipelines.policy.kube_objects import KEEP
from ops_pipelines.policy.kube_release import (
    PENDING,
    Recorded,
    Release,
    given_up,
    recorded_of,
    repacked,
    stale,
    unpacked,
)

log = structlog.get_logger()

_PATIENCE = 600.0
"""Seconds after which a change that somebody began by hand, and that wrote nothing since, is taken for abandoned."""
_CLAIM = "PersistentVolumeClaim"


@dataclass(frozen=True)
class Standing:
    """A release as it stands in the cluster."""

    release: Release
    hands: Hands
    records: tuple[Recorded, ...]
    """Helm's, oldest first."""

    @property
    def latest(self) -> Recorded | None:
        """The newest record; None where there is no such release."""
        return self.records[-1] if self.records else None

    @property
    def deployed(self) -> Recorded | None:
        """The newest record of a change that ended well."""
        return next((one for one in reversed(self.records) if one.status == "deployed"), None)

    @property
    def well(self) -> bool:
        """Whether the newest change ended well."""
        return self.latest is not None and self.latest.status == "deployed"

    @cached_property
    def objects(self) -> tuple[Object, ...]:
        """What was applied last: by the newest change that ended well, else by the newest. Raises Refused."""
        found = self.deployed or self.latest
        if found is None or found.status == "uninstalled":
            return ()
        return self.hands.read(str(self.record(found).get("manifest", "")))

    def record(self, which: Recorded) -> Object:
        """One of Helm's records. Raises Refused where it cannot be read."""
        try:
            return unpacked(self.hands.cluster.get(f"{secrets(self.release)}/{which.secret}"))
        except ValueError as error:
            raise Refused(
                f"Helm's record {which.secret} of release {self.release.name} cannot be read",
                remedy=f"remove it: kubectl -n {self.release.namespace} delete secret {which.secret}",
            ) from error


def secrets(release: Release) -> str:
    """Path of the Secrets of a release's namespace."""
    return f"/api/v1/namespaces/{release.namespace}/secrets"


def standing(release: Release, hands: Hands) -> Standing:
    """What stands now. Raises Unreachable, ClusterRefused."""
    found = hands.cluster.listed(
        secrets(release), brief=True, labelSelector=f"owner=helm,name={release.name}"
    )
    records = [one for one in map(recorded_of, found) if one is not None]
    return Standing(release, hands, tuple(sorted(records, key=lambda one: one.revision)))


def mend(now: Standing, token: int, *, within: float) -> tuple[Standing, str]:
    """What stands once an unfinished change of somebody who is gone was settled, with words on it.

    Raises Refused where somebody may be at it yet."""
    latest, hands = now.latest, now.hands
    if latest is None or latest.status not in PENDING:
        return now, ""
    name = now.release.name
    if not stale(latest, token, hands.cluster.now(), _PATIENCE):
        begun = f"since {latest.changed:%H:%M:%S} UTC" if latest.changed else "for an unknown time"
        raise Refused(
            f"somebody is changing release {name} with Helm ({latest.status}, revision {latest.revision}, {begun})",
            remedy=f"wait for it; a change that was killed is taken over {_PATIENCE / 60:.0f} minutes after it began",
        )
    if latest.status == "uninstalling":
        hands.helm.uninstall(within=within)
        words = f"a removal of release {name} that was killed was ended"
    else:
        path = f"{secrets(now.release)}/{latest.secret}"
        words = f"revision {latest.revision} of release {name}, left in {latest.status}, was given up"
        hands.cluster.replace(path, given_up(hands.cluster.get(path), f"interrupted; {words}"))
    log.warning("release mended", release=name, status=latest.status, revision=latest.revision)
    return standing(now.release, hands), words


def keep_claims(now: Standing) -> tuple[str, ...]:
    """Mark the volume claims of a release in Helm's record so that removing it leaves them; their names."""
    which = now.latest
    if which is None or which.status == "uninstalled":
        return ()
    path = f"{secrets(now.release)}/{which.secret}"
    for attempt in (1, 2, 3):
        secret = now.hands.cluster.get(path)
        record = unpacked(secret)
        objects = now.hands.read(str(record.get("manifest", "")))
        claims = [one for one in objects if one.get("kind") == _CLAIM]
        if not claims:
            return ()
        for one in claims:
            meta = one["metadata"]
            meta["annotations"] = {**(meta.get("annotations") or {}), KEEP: "keep"}
        record["manifest"] = _written(objects)
        try:
            now.hands.cluster.replace(path, repacked(secret, record, status=which.status))
        except ClusterRefused as error:
            if error.code != 409 or attempt == 3:
                raise
            continue
        return tuple(str(one["metadata"]["name"]) for one in claims)
    return ()


def _written(objects: Sequence[Object]) -> str:
    return "".join(f"---\n{yaml.safe_dump(one, sort_keys=False)}" for one in objects)
