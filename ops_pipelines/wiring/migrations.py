"""Migrations of one stack between its forms (profiles): the plan, the steps, and the end of the old one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from ops_pipelines.engines import migrate as engine
from ops_pipelines.engines._deploy_preflight import refuse
from ops_pipelines.engines.migrate import Migration
from ops_pipelines.engines.ports import Progress, silent
from ops_pipelines.errors import OpsError, PartFailed, UsageError
from ops_pipelines.policy import migration as policy
from ops_pipelines.policy.plan import Finding, Plan, failed
from ops_pipelines.settings import choose_profile
from ops_pipelines.stack.loader import load_stack
from ops_pipelines.wiring import beside, deployments, listing, restores, snapshots
from ops_pipelines.wiring.connect import now
from ops_pipelines.wiring.site import Site, linked, site_with_profile

log = structlog.get_logger()

_PLAIN = "(no profile)"
"""Name of the form of a file that chooses no profile."""


@dataclass(frozen=True)
class Migrated:
    """How a migration ended."""

    plan: Plan
    migration: Migration
    reached: str
    """Where the stack runs now, in words."""


def plan(site: Site, to: str) -> Plan:
    """What `migrate` would do, and what is missing for it. Nothing is changed.

    Raises UsageError for a form that is none, or is the one that stands, TargetUnsupported."""
    old, new, begun = _sides(site, to)
    found = policy.plan_migration(old.stack, new.stack, _names(old, new), begun.done, begun.snapshot)
    missing = tuple(
        f"{one.subject}: {one.message}; {one.remedy}"
        for one in failed(_preflight(new, begun))
        if one.severity == "error"
    )
    return replace(found, warnings=(*missing, *found.warnings))


def migrate(site: Site, to: str, *, by: str, again: bool = False, progress: Progress = silent) -> Migrated:
    """Move the stack to its form `to`. The old form serves until the switch, and stays after it until `finish`.

    A migration that was killed is gone on with; `again` begins anew, with a backup of now. Raises PreflightFailed,
    DeployFailed, PartFailed and what else a step raises: the old form serves then."""
    old, new, begun = _sides(site, to)
    if again:
        begun = _new(old, new)
    _require_free_choice(site, new)
    planned = policy.plan_migration(old.stack, new.stack, _names(old, new), begun.done, begun.snapshot)
    if "deploy" not in begun.done:
        refuse(_preflight(new, begun))
    done = engine.migrate(
        begun, _Hands(old, new, by), lambda one: engine.write(_journal(site), one), progress
    )
    return Migrated(planned, done, policy.describe(new.stack.target))


def finish_plan(site: Site, *, volumes: bool) -> Plan:
    """What `finish` would stop and remove. Raises UsageError where no migration has come to its switch."""
    return deployments.down_plan(_left(site), volumes=volumes)


def finish(site: Site, *, volumes: bool) -> Plan:
    """Stop and remove the old form of a stack that was migrated; its data stays, unless `volumes` says otherwise."""
    old = _left(site)
    done = deployments.down(old, volumes=volumes)
    _journal(site).unlink(missing_ok=True)
    return done


def standing(site: Site) -> Migration | None:
    """The migration that is under way, or whose old form still stands."""
    return engine.read(_journal(site))


@dataclass(frozen=True)
class _Hands:
    old: Site
    new: Site
    by: str

    @property
    def _moves(self) -> policy.Moves:
        return policy.moves(self.old.stack, self.new.stack)

    def backup(self, progress: Progress) -> str:
        """A snapshot of the old form, verified."""
        taken = snapshots.backup(self.old, by=f"migration ({self.by})", progress=progress)
        bad = failed(snapshots.verify(self.old, taken.snapshot, depth="sizes", progress=progress))
        if bad:
            raise PartFailed(f"{taken.snapshot} is not whole: {bad[0].message}", remedy=bad[0].remedy)
        return taken.snapshot

    def files(self, snapshot: str, progress: Progress) -> None:
        """Caches and volumes, before anything of the new form runs."""
        beside.make_places(self.new)
        self._restore(snapshot, self._moves.files, progress)

    def deploy(self, snapshot: str, progress: Progress) -> None:
        """The new form. Its smoke test comes with `verify`: what it asks for is not all there yet."""
        del snapshot
        quiet = self.new.stack.model_copy(update={"smoke": None})
        site = replace(self.new, loaded=replace(self.new.loaded, stack=quiet))
        deployments.deploy(site, by=f"migration ({self.by})", progress=progress)

    def servers(self, snapshot: str, progress: Progress) -> None:
        """Databases, collections, buckets, in their servers."""
        self._restore(snapshot, self._moves.servers, progress)

    def verify(self, snapshot: str, progress: Progress) -> tuple[Finding, ...]:
        """Every part was compared by its digests when it was restored; here the whole must answer."""
        del snapshot, progress
        return (*deployments.health_findings(self.new), *deployments.smoke(self.new))

    def switch(self) -> None:
        """From now on the verbs act on the new form."""
        choose_profile(self.new.settings.home, self.new.name, self.new.loaded.profile or "")

    def _restore(self, snapshot: str, wanted: Sequence[str], progress: Progress) -> None:
        held = {part.key for part in listing.load(self.old, snapshot).parts}
        parts = [key for key in wanted if key in held]
        if parts:
            restores.restore(self.new, snapshot, parts=parts, by=f"migration ({self.by})", progress=progress)


def _sides(site: Site, to: str) -> tuple[Site, Site, Migration]:
    """Old form, new form, and how far the migration between them is."""
    before = standing(site)
    old = _as(site, before.source) if before is not None and not before.switched else site
    new = site_with_profile(site, _form(site, to))
    deployments.require_supported(old)
    deployments.require_supported(new)
    if policy.same_place(old.stack.target, new.stack.target):
        raise UsageError(
            f"{site.name} runs on {policy.describe(old.stack.target)} already",
            remedy=f"its forms: {', '.join(site.loaded.profiles) or 'one only'}; `deploy` applies a change in place",
        )
    if before is not None and (before.source, before.target) == _names(old, new) and not before.switched:
        return old, new, before
    if before is not None and before.switched:
        log.info("migration.forgotten", stack_name=site.name, old=before.source)
    return old, new, _new(old, new)


def _form(site: Site, to: str) -> str:
    """The profile that a word means: its name, or the one profile of that target."""
    if to in site.loaded.profiles:
        return to
    kinds: dict[str, list[str]] = {}
    for name in site.loaded.profiles:
        try:
            kinds.setdefault(site_with_profile(site, name).stack.target.kind, []).append(name)
        except OpsError as error:
            log.info("migration.form_broken", stack_name=site.name, profile=name, error=error.message)
    found = [name for name in kinds.get(to, []) if name != site.loaded.profile]
    if len(found) == 1:
        return found[0]
    forms = ", ".join(f"{name} ({kind})" for kind, names in kinds.items() for name in names)
    raise UsageError(
        f"{to} is {'not one form' if found else 'no form'} of {site.name}",
        remedy=f"name a profile of {site.loaded.path}: {forms or 'it declares none'}",
    )


def _as(site: Site, form: str) -> Site:
    """The stack in one of its forms, the one without a profile included."""
    if form != _PLAIN:
        return site_with_profile(site, form)
    loaded = load_stack(site.loaded.path, profile=None, environ=site.settings.environ)
    return Site(site.settings, linked(loaded))


def _new(old: Site, new: Site) -> Migration:
    return Migration(old.name, *_names(old, new), begun=now().isoformat())


def _names(old: Site, new: Site) -> tuple[str, str]:
    return old.loaded.profile or _PLAIN, new.loaded.profile or _PLAIN


def _preflight(new: Site, begun: Migration) -> tuple[Finding, ...]:
    """What the new form needs; models that are missing come with the files."""
    found = () if "deploy" in begun.done else deployments.preflight(new)
    return tuple(one for one in found if not one.subject.startswith("model"))


def _require_free_choice(site: Site, new: Site) -> None:
    """Raise UsageError where the environment says which form it is: a switch would be undone by it."""
    named = site.settings.given.get("OPS_PROFILES", "")
    if any(word.partition("=")[0].strip() == site.name for word in named.split(",")):
        raise UsageError(
            f"OPS_PROFILES names the form of {site.name}, so that a switch would not last",
            remedy=f"take {site.name} out of it: the file {site.settings.home}/profiles.env keeps it from then on, "
            f"as {site.name}={new.loaded.profile}",
        )


def _left(site: Site) -> Site:
    before = standing(site)
    if before is None or not before.switched:
        raise UsageError(
            f"no migration of {site.name} has come to its end",
            remedy=f"`ops-pipelines migrate {site.name} --to FORM`",
        )
    return _as(site, before.source)


def _journal(site: Site) -> Path:
    return site.state / "migration.json"
