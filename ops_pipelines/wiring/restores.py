"""A snapshot of one stack put back: the plan, and the switch while its servers rest."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from ops_pipelines.engines import restore as engine
from ops_pipelines.engines import snapshots
from ops_pipelines.engines._restore_plan import Targets, choose
from ops_pipelines.engines.parts.collection import Choice, CollectionTarget
from ops_pipelines.engines.ports import Progress, silent
from ops_pipelines.engines.restore import RestoreResult
from ops_pipelines.errors import OpsError, Unreachable, UsageError
from ops_pipelines.policy.manifest import Manifest
from ops_pipelines.policy.plan import Plan, Step
from ops_pipelines.wiring import compose_data, kept_times, needed_secrets
from ops_pipelines.wiring import parts as part_wiring
from ops_pipelines.wiring.artifacts import supported
from ops_pipelines.wiring.connect import layout, lease, now, object_store
from ops_pipelines.wiring.drills import BY_DRILL
from ops_pipelines.wiring.encryption import opener, unopened
from ops_pipelines.wiring.listing import listed, load
from ops_pipelines.wiring.restarting import Rest, restart_steps
from ops_pipelines.wiring.site import Site
from ops_pipelines.wiring.targets import on

_FILES = ("model_cache", "volume")
"""Parts that are put back while nothing runs; the others are told to a server."""


@dataclass(frozen=True)
class Only:
    """Less than all of one collection, or another name for it."""

    choice: Choice = field(default_factory=Choice)
    name: str | None = None
    """Name under which clients are to find it; None: its own."""

    def __bool__(self) -> bool:
        return bool(self.choice or self.name)


ALL = Only()


def _targets(site: Site, manifest: Manifest, parts: Sequence[str] | None, only: Only) -> Targets:
    """Where the parts go. Raises UsageError for a choice of rows, or a name, that is not of one collection."""
    keys = manifest.keys(parts) if parts else set()
    found = part_wiring.targets(site, manifest, chosen=keys or None)
    if not only:
        return found
    target = found.get(next(iter(keys))) if len(keys) == 1 else None
    if not isinstance(target, CollectionTarget):
        raise UsageError(
            "rows are chosen, and a name given, for one collection",
            remedy="name it: `--part collection/NAME`, and no other part",
        )
    if only.name is not None and only.name in site.stack.collections:
        raise UsageError(
            f"{only.name} is a collection of {site.name}", remedy="choose a name in `--as` that is none"
        )
    return {next(iter(keys)): replace(target, name=only.name or target.name, choice=only.choice)}


def plan_restore(
    site: Site,
    snapshot: str,
    *,
    parts: Sequence[str] | None = None,
    into: str | None = None,
    only: Only = ALL,
    allow_wrong: Collection[str] = (),
) -> Plan:
    """What a restore would do. Secrets that parts need and that are not those of then are warnings."""
    manifest = load(site, snapshot)
    pending = engine.pending_restore(site.state, site.name)
    try:
        targets = _targets(site, manifest, parts, only)
        plan = engine.plan_restore(manifest, targets, parts, into, pending=pending)
    except Unreachable as error:
        raise _in_order(site, manifest, error) from error
    chosen, _ = choose(manifest, targets, parts)
    found = needed_secrets.check(site, manifest, chosen, allow_wrong)
    steps = tuple(Step("check", one.subject, one.message) for one in found if one.ok)
    if site.stack.target.kind == "compose" and any(part.kind in ("model_cache", "volume") for part in chosen):
        who = compose_data.where(site)
        steps += (
            Step(
                "check", "data", f"moved by {'a container' if who.container else 'this process'}: {who.why}"
            ),
        )
    plan = replace(
        plan,
        steps=(*steps, *plan.steps),
        warnings=(*needed_secrets.warnings(found), *unopened(opener(site), chosen), *plan.warnings),
    )
    if into is None:
        switched = [one.subject.partition(" ")[0] for one in plan.steps if one.verb == "switch"]
        plan = replace(plan, steps=(*plan.steps, *restart_steps(site, dict.fromkeys(switched))))
    info = next((one for one in listed(site) if one.id == snapshot), None)
    if info is not None and info.facts.bad:
        return replace(plan, warnings=(_failed(site, snapshot), *plan.warnings))
    return plan


def _in_order(site: Site, manifest: Manifest, error: Unreachable) -> Unreachable:
    """The same error; where nothing of the stack runs, with the order in which a destroyed stack comes back."""
    try:
        runs = not supported(site) or on(site).running(site, tuple(site.stack.components))
    except OpsError:
        return error
    if runs:
        return error
    files = [part.key for part in manifest.parts if part.kind in _FILES]
    first = (
        f"restore its files first (parts {', '.join(files)}), then deploy it" if files else "deploy it first"
    )
    return Unreachable(
        f"{error.message}; nothing of {site.name} runs", remedy=f"{first}, then restore everything"
    )


def _failed(site: Site, snapshot: str) -> str:
    """The warning of a snapshot that failed: by what, and when."""
    facts = snapshots.read_mark(object_store(site), layout(site), site.name, snapshot, "failed") or {}
    what = "drill" if facts.get("by") == BY_DRILL else "last check"
    at = f" at {facts['at']}" if "at" in facts else ""
    return (
        f"{snapshot} FAILED its {what}{at}: it may not be whole, or not answer as before; "
        f"`ops-pipelines snapshots {site.name}` lists others"
    )


def restore(
    site: Site,
    snapshot: str,
    *,
    parts: Sequence[str] | None = None,
    into: str | None = None,
    only: Only = ALL,
    by: str,
    progress: Progress = silent,
    allow_wrong: Collection[str] = (),
) -> RestoreResult:
    """Put a snapshot back, under the stack's lease. What serves a restored model rests while that is switched.

    Keys come first: where a secret that a part needs is not that of then, and is not in `allow_wrong`,
    SecretMismatch is raised before anything is fetched, and IdentityMissing where nothing here opens a part. A
    server that could not be started again, or is not well in time then, is a finding of the first part: the data is
    live all the same.
    """
    store, keys = object_store(site), layout(site)
    manifest = load(site, snapshot)
    with lease(site, f"restore of {snapshot} ({by})") as fence:
        rest = Rest(site, fence)
        targets = _targets(site, manifest, parts, only)
        try:
            chosen, _ = choose(manifest, targets, parts)
            for part in chosen:
                if part.recipients:
                    opener(site).require(part.recipients, part.key)
            needed_secrets.require(needed_secrets.check(site, manifest, chosen, allow_wrong))
            shutil.rmtree(site.scratch / "restore", ignore_errors=True)  # what a killed restore left in clear
            result = engine.restore(
                manifest,
                rest.wrap(targets),
                store=store,
                layout=keys,
                fence=fence,
                parts=parts,
                into=into,
                state=site.state,
                progress=progress,
                clock=now,
                spare=part_wiring.is_drill_place,
            )
            kept_times.remember(site.state, result, now())
        finally:
            if into is None:
                rest.end()  # those that a killed run left at rest
    rest.settle(progress)
    if not rest.findings or not result.parts:
        return result
    first, *others = result.parts
    found = dict.fromkeys((*first.findings, *rest.findings))
    return replace(result, parts=(replace(first, findings=tuple(found)), *others))
