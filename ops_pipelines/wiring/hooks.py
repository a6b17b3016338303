"""The hooks of one stack: whose they are, and how each is run on this machine."""

from __future__ import annotations

from ops_pipelines.adapters.hooks import run_command, send_request
from ops_pipelines.engines.hooks import HookKeeper
from ops_pipelines.stack.model import Stack
from ops_pipelines.stack.safeguards import Hook, Hooks, PartOptions
from ops_pipelines.wiring.connect import backup_of, known_secrets, now, secret
from ops_pipelines.wiring.site import Site


def keeper(site: Site) -> HookKeeper:
    """What holds the stack and its parts still during a backup."""
    found: dict[str, Hooks] = {key: options.hooks for key, options in part_options(site.stack).items()}
    found[""] = backup_of(site).hooks
    return HookKeeper(site.name, site.state, found, lambda hook: run(site, hook), now)


def let_go(site: Site) -> list[str]:
    """Run what a killed backup of this machine left owed, and name its parts. A backup at work is left alone."""
    return keeper(site).settle_killed() if site.stack.backup else []


def part_options(stack: Stack) -> dict[str, PartOptions]:
    """What each declared part says of itself, by part key."""
    sections: dict[str, dict[str, PartOptions]] = {
        "model_cache": dict(stack.caches),
        "collection": dict(stack.collections),
        "database": dict(stack.databases),
        "volume": dict(stack.volumes),
        "bucket": dict(stack.buckets),
    }
    return {f"{kind}/{name}": one for kind, section in sections.items() for name, one in section.items()}


def run(site: Site, hook: Hook) -> None:
    """Run one hook within its time limit.

    Raises OpsError; what it printed is told, and the values of the stack's secrets are not."""
    own = {word: secret(site, name) or "" for word, name in hook.secrets.items()}
    values = [*known_secrets(site).values()]
    if hook.http is not None:
        send_request(
            hook.http.method,
            hook.http.url,
            body=hook.http.body,
            headers={**hook.http.headers, **own},
            expect=hook.http.expect,
            timeout=hook.timeout,
            secrets=values,
        )
    elif hook.command is not None:
        others = {ref.target for ref in site.stack.secrets.values() if ref.kind == "environment"}
        given = {name: value for name, value in site.settings.given.items() if name not in others}
        run_command(
            hook.command,
            environ={**given, **own},
            folder=site.folder,
            timeout=hook.timeout,
            secrets=values,
        )
