"""Deploy on target `kubernetes`: plan, apply, watch, smoke, record; or all back as it was.

Helm applies and records; what it applied is watched here, so that a pod that will never start is named after seconds
and in words. A deploy killed at any step leaves the release as it was or as it was to be, or one of Helm's records
unfinished: the next one settles that first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from ops_pipelines.engines._deploy_needs import Deployed, require_good
from ops_pipelines.engines._kube_needs import Cluster, Hands, HelmTool, Layers, Object
from ops_pipelines.engines._kube_state import Standing, keep_claims, mend, standing
from ops_pipelines.engines._kube_watch import SERVER_BACK, Seen, await_well, seen, tails, watched_of
from ops_pipelines.engines.ports import Fence, Progress, silent
from ops_pipelines.errors import ClusterRefused, CommandFailed, DeployFailed, LeaseLost, OpsError, Unreachable
from ops_pipelines.policy.kube_diff import Tried, gone_from, plan_of
from ops_pipelines.policy.kube_objects import HOOK, annotation, is_hook, key_of
from ops_pipelines.policy.kube_release import OURS, PENDING, Release, ours
from ops_pipelines.policy.kube_said import in_short, remedy_for
from ops_pipelines.policy.plan import Finding, Plan

__all__ = [
    "Cluster", "Hands", "HelmTool", "Layers", "Look", "Object", "Seen", "Standing", "await_well", "deploy",
    "keep_claims", "look", "mend", "seen", "standing", "watched_of",
]  # fmt: skip

log = structlog.get_logger()

_POLL = 2.0
_MEND = "mend what is named above, then deploy again"


@dataclass(frozen=True)
class Look:
    """What applying a release would change, asked of the cluster; nothing is changed by it."""

    release: Release
    objects: tuple[Object, ...]
    """As the chart renders them, hooks included."""
    tried: tuple[Tried, ...]
    standing: Standing
    plan: Plan
    namespace_there: bool


def look(title: str, release: Release, hands: Hands, warnings: Sequence[str] = ()) -> Look:
    """Render a release and ask the cluster what it would change. Raises Unreachable, ClusterRefused, CommandFailed."""
    there = hands.cluster.find(f"/api/v1/namespaces/{release.namespace}") is not None
    now = standing(release, hands)
    upgrade = now.latest is not None and now.latest.status != "uninstalled"
    objects = hands.helm.render(hands.chart(release), hands.layers(release).texts, upgrade=upgrade)
    lasting = [one for one in objects if not is_hook(one)]
    tried = _tried(lasting, release, hands, there)
    words = list(warnings)
    if now.latest is not None and now.latest.status in PENDING:
        words.append(f"release {release.name} is left in {now.latest.status}: a deploy first settles that")
    components = {key: name for name, key in hands.workloads(objects).items()}
    plan = plan_of(
        title,
        tried,
        gone_from(now.objects, lasting, release.namespace) if upgrade else (),
        components,
        hooks=[str(key_of(one, release.namespace)) for one in objects if _runs_now(one, upgrade)],
        warnings=words,
    )
    return Look(release, objects, tried, now, plan, there)


def _tried(lasting: Sequence[Object], release: Release, hands: Hands, there: bool) -> tuple[Tried, ...]:
    keys = [key_of(one, release.namespace) for one in lasting]
    if not there:  # nothing can be asked of a namespace that is not there
        return tuple(Tried(key, None, None) for key in keys)
    said = hands.cluster.try_all(lasting, release.namespace, release.name)
    return tuple(
        Tried(key, one.live, one.after, one.refused, one.code, one.owners)
        for key, one in zip(keys, said, strict=True)
    )


def _runs_now(found: Mapping[str, Any], upgrade: bool) -> bool:
    words = ("pre-upgrade", "post-upgrade") if upgrade else ("pre-install", "post-install")
    return any(word in annotation(found, HOOK).split(",") for word in words)


def deploy(
    stack: str,
    looked: Look,
    hands: Hands,
    *,
    before: Release | None,
    fence: Fence,
    record: Callable[[Release], int],
    smoke: Callable[[], tuple[Finding, ...]],
    within: float,
    reason: str = "deploy",
    findings: tuple[Finding, ...] = (),
    force_conflicts: bool = False,
    progress: Progress = silent,
) -> Deployed:
    """Bring the cluster to what was looked at. `before` is the release of the newest revision, None for a first deploy.

    `within` is how many seconds its workloads may take to become well. Raises DeployFailed with the earlier state put
    back, LeaseLost with nothing put back (the stack is somebody else's then), Refused where somebody else is at it."""
    begun = time.monotonic()
    release, plan = looked.release, looked.plan
    fence.check()
    now, mended = mend(looked.standing, fence.token, within=within)
    new = before is None or before.wanted != release.wanted
    log.info("deploy begins", stack_name=stack, reason=reason, changes=len(plan.changes), mended=mended)
    try:
        if not plan.empty or new or not now.well:
            fence.check()
            apply(
                release,
                hands,
                fence,
                within,
                force_conflicts=force_conflicts,
                make_namespace=not looked.namespace_there,
            )
        await_well(
            looked.objects, release.namespace, hands, within=within, check=fence.check, progress=progress
        )
        asked = require_good(smoke())
        fence.check()
        revision = record(release) if new else None
    except LeaseLost:
        raise
    except OpsError as error:
        logs = tails(looked.objects, release.namespace, hands)  # before the pods are gone
        back = _put_back(before, release, now, hands, fence, within)
        log.error("deploy failed", stack_name=stack, reason=reason, error=type(error).__name__)
        words, remedy = said(error)
        raise DeployFailed(f"the {reason} of {stack} failed: {words}\n{logs}{back}", remedy=remedy) from error
    except BaseException:  # Ctrl-C, or the end of a Dagster run
        back = _put_back(before, release, now, hands, fence, within)
        log.warning("deploy interrupted", stack_name=stack, put_back=back)
        raise
    log.info("deploy ends", stack_name=stack, revision=revision)
    return Deployed(plan, revision, (*findings, *asked), time.monotonic() - begun)


def apply(
    release: Release,
    hands: Hands,
    fence: Fence,
    within: float,
    *,
    force_conflicts: bool = False,
    make_namespace: bool = False,
) -> None:
    layers, latest = hands.layers(release), standing(release, hands).latest
    hands.helm.apply(
        hands.chart(release),
        layers.texts,
        within=within,
        labels={OURS: ours(fence.token, (latest.revision if latest else 0) + 1)},
        secrets=layers.secrets,
        force_conflicts=force_conflicts,
        create_namespace=make_namespace and hands.create_namespace,
    )


def _put_back(
    before: Release | None, failed: Release, was: Standing, hands: Hands, fence: Fence, within: float
) -> str:
    """Bring the earlier state back and say how it went; never raises an OpsError.

    What stood before is brought back by Helm from its own record, so that it is what it was to the letter; where that
    record is gone, by applying the release of the newest revision."""
    try:
        await_server(hands)
        fence.check()
        now, _ = mend(standing(failed, hands), fence.token + 1, within=within)
        stood = was.deployed
        if stood is not None and any(one.revision == stood.revision for one in now.records):
            if now.latest is not None and now.latest.revision != stood.revision:
                hands.helm.back(stood.revision, within=within, force_conflicts=True)
            await_well(was.objects, failed.namespace, hands, within=within, check=fence.check)
            return "what ran before was put back and is healthy"
        if before is not None:
            found = look("put back", before, hands)
            apply(before, hands, fence, within, force_conflicts=True)
            await_well(found.objects, before.namespace, hands, within=within, check=fence.check)
            return "the earlier revision was put back and is healthy"
        if now.latest is None:
            return "nothing had been applied"
        kept = keep_claims(now)
        hands.helm.uninstall(within=within)
        return "there is no earlier revision, so what the deploy had started was removed" + (
            f"; volume claims stay: {', '.join(kept)}" if kept else "; volumes stay"
        )
    except OpsError as error:
        words, remedy = said(error)
        return f"putting back what ran before failed too: {words}; {remedy}"


def await_server(hands: Hands) -> None:
    """Wait for an API server that is being restarted. Raises Unreachable where it does not come back."""
    end = time.monotonic() + SERVER_BACK
    while True:
        try:
            hands.cluster.version()
            return
        except (Unreachable, ClusterRefused):
            if time.monotonic() > end:
                raise
        time.sleep(_POLL)


def said(error: OpsError) -> tuple[str, str]:
    """What went wrong, and what mends it: of a command that failed, its own words rather than its arguments."""
    if not isinstance(error, CommandFailed):
        return error.message, error.remedy or _MEND
    return in_short(error.output) or error.message, remedy_for(error.output, _MEND)
