"""Rules on backups: everything that has state is covered, can be read again, and lies somewhere else."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ops_pipelines.policy.lint.rule import Found, Rule, host_of, port_in, started
from ops_pipelines.stack.components import Component
from ops_pipelines.stack.model import Stack

_LOOPBACK = ("127.0.0.1", "localhost", "::1", "0.0.0.0")  # noqa: S104 - looked for, not bound
_DATABASES = ("postgres", "clickhouse", "redis")
_VECTORS = ("milvus", "qdrant")
_ENCRYPTS = {
    "litellm": ("LITELLM_SALT_KEY", "LITELLM_MASTER_KEY"),
    "langfuse": ("ENCRYPTION_KEY",),
}
_DAILY = re.compile(r"(\d{1,2}) (\d{1,2}) \* \* \*")
_DAY = 24 * 60


def no_backup(stack: Stack) -> Iterator[Found]:
    """A stack that keeps something and declares no backup."""
    if stack.backup is None and (stack.caches or stack.collections or stack.databases):
        breaks = "a lost disk is lost data; no lease and no revisions are kept either"
        yield Found("backup", "no backup", breaks, "add `backup: {bucket: …}`", "warning")


def backup_inside(stack: Stack) -> Iterator[Found]:
    """A bucket on a server of the very stack that it protects: both are lost together."""
    endpoint = stack.backup.endpoint if stack.backup else None
    if not endpoint:
        return
    host, port = host_of(endpoint), port_in(endpoint)
    remedy = "keep the bucket on another machine, or at a provider"
    if host in stack.components or host.partition(".")[0] in stack.components:
        yield Found(
            "backup.endpoint", f"{host}, a component of this stack", "it dies with what it protects", remedy
        )
        return
    elsewhere = {name: each.address for name, each in stack.components.items() if each.address}
    same = [name for name, url in elsewhere.items() if (host_of(url), port_in(url)) == (host, port)]
    if same:
        found = f"{host}:{port}, which is {same[0]} of this stack"
        yield Found("backup.endpoint", found, "it dies with what it protects", remedy)
        return
    if host not in _LOOPBACK:
        return
    here = [name for name, each in started(stack).items() if port in each.ports.values()]
    if here:
        found = f"port {port} of this machine, where {here[0]} of this stack listens"
        yield Found("backup.endpoint", found, "it dies with what it protects", remedy)
    else:
        breaks = "a lost disk takes the backups along"
        yield Found("backup.endpoint", "a store on this same machine", breaks, remedy, "info")


def state_uncovered(stack: Stack) -> Iterator[Found]:
    """A server with state of which no part is in the backup, and nothing says that this is meant."""
    if stack.backup is None:
        return
    for name, component in started(stack).items():
        if component.kind in _DATABASES and not any(
            one.component == name for one in stack.databases.values()
        ):
            yield Found(
                f"components.{name}", f"{component.kind}, of which nothing is backed up", "its rows are lost with it",
                f"declare what it holds under `databases` (component: {name}), with `backup: false` where it may go",
            )  # fmt: skip
        elif component.kind in _VECTORS and not (
            any(one.store == name for one in stack.collections.values())
            or any(stack.volumes[one].backup for one in component.volumes if one in stack.volumes)
        ):
            yield Found(
                f"components.{name}", f"{component.kind}, of which nothing is backed up",
                "its vectors are lost with it",
                f"declare its collections under `collections` (store: {name}), or its volume", "warning",
            )  # fmt: skip


def unreadable_rows(stack: Stack) -> Iterator[Found]:
    """A database whose rows are encrypted by a key that it does not name: restored without it, it is noise.

    LiteLLM encrypts with LITELLM_SALT_KEY (else the master key), Langfuse with ENCRYPTION_KEY.
    """
    for name, database in stack.databases.items():
        if database.kind != "postgres" or not database.backup:
            continue
        for user, component, variables in _users(stack, name):
            keys = [component.secrets[one] for one in variables if one in component.secrets][:1]
            lacking = [key for key in keys if key not in database.needs]
            if not database.needs or lacking:
                named = (
                    f"add {lacking[0]} to `needs`"
                    if lacking
                    else f"name the secret of {variables[0]} in `needs`"
                )
                yield Found(
                    f"databases.{name}.needs",
                    f"no key of {user}",
                    "its rows cannot be read after a restore",
                    named,
                )


def _users(stack: Stack, database: str) -> Iterator[tuple[str, Component, tuple[str, ...]]]:
    """Components that keep encrypted rows in a database, with the variables that hold the key."""
    declared = stack.databases[database]
    alone = sum(1 for one in stack.databases.values() if one.component == declared.component) == 1
    for name, component in stack.components.items():
        make = next((m for m in _ENCRYPTS if m == component.kind or m in (component.image or "")), None)
        named = make is not None and make in f"{database} {declared.name}".lower()
        if make and (named or (alone and declared.component in component.depends_on)):
            yield name, component, _ENCRYPTS[make]


def schedules_collide(stack: Stack) -> Iterator[Found]:
    """Schedules that take the lease from each other, or prune before the new snapshot has been verified."""
    backup, drill = stack.backup, stack.drill
    if backup is None:
        return
    times = {
        "backup.schedule": (backup.schedule, backup.timezone),
        "backup.verify_schedule": (backup.verify_schedule, backup.timezone),
        "backup.prune_schedule": (backup.prune_schedule, backup.timezone),
        "drill.schedule": (drill.schedule, drill.timezone),
        "drill.full_schedule": (drill.full_schedule, drill.timezone),
    }
    seen: dict[tuple[str, str], str] = {}
    for path, (cron, zone) in times.items():
        if cron is None:
            continue
        if (cron, zone) in seen:
            found = f"`{cron}`, as {seen[cron, zone]} has"
            yield Found(
                path, found, "one of them finds the lease held", "move one of them by an hour", "warning"
            )
        seen.setdefault((cron, zone), path)
    yield from _order(stack)


def _order(stack: Stack) -> Iterator[Found]:
    backup = stack.backup
    taken = _minute(backup.schedule) if backup else None
    if backup is None or taken is None:
        return
    verified, pruned = _minute(backup.verify_schedule), _minute(backup.prune_schedule)
    if pruned is not None and verified is not None and (pruned - taken) % _DAY < (verified - taken) % _DAY:
        yield Found(
            "backup.prune_schedule", f"`{backup.prune_schedule}`, between the backup and its verification",
            "old snapshots go before the new one is known to be good",
            f"prune after `{backup.verify_schedule}`", "warning",
        )  # fmt: skip
    if backup.verify_schedule is None:
        breaks = "a blob that rots is found on the day it is needed"
        yield Found("backup.verify_schedule", "never", breaks, "set a time after the backup", "warning")
    if backup.prune_schedule is None:
        yield Found("backup.prune_schedule", "never", "the bucket grows for ever", "set a time", "info")


def _minute(cron: str | None) -> int | None:
    """Minute of the day of a daily schedule, or None for any other."""
    match = _DAILY.fullmatch(cron or "")
    return int(match[2]) * 60 + int(match[1]) if match else None


RULES = (
    Rule("no-backup", (4,), no_backup),
    Rule("backup-inside", (29,), backup_inside),
    Rule("state-uncovered", (4,), state_uncovered),
    Rule("unreadable-rows", (28,), unreadable_rows),
    Rule("schedules-collide", (1, 2), schedules_collide),
)
