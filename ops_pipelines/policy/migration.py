"""What moves when a stack moves from one target to another, in which order, and what stands in the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ops_pipelines.policy.plan import Plan, Step
from ops_pipelines.policy.programs import endpoints
from ops_pipelines.stack.components import ComposeTarget, Target
from ops_pipelines.stack.kubernetes import KubernetesTarget
from ops_pipelines.stack.model import Stack

StepName = Literal["backup", "files", "deploy", "servers", "verify", "switch"]
STEPS: tuple[StepName, ...] = ("backup", "files", "deploy", "servers", "verify", "switch")
"""Files come before the deploy, so that servers find their models; what a server holds comes once it runs."""
_FILES = ("model_cache", "volume")
_SERVED = ("database", "collection", "bucket")


@dataclass(frozen=True)
class Moves:
    """Parts by what becomes of them."""

    files: tuple[str, ...]
    servers: tuple[str, ...]
    stay: tuple[str, ...]
    """They lie outside of both: at the same address before and after."""
    left: tuple[str, ...]
    """The new form does not declare them: they stay in the snapshot, and with the old one."""


def moves(old: Stack, new: Stack) -> Moves:
    """What becomes of each part that the old form backs up."""
    files: list[str] = []
    servers: list[str] = []
    stay: list[str] = []
    left: list[str] = []
    for key in _backed(old):
        kind, _, name = key.partition("/")
        if key not in _declared(new):
            left.append(key)
        elif _same_server(old, new, kind, name):
            stay.append(key)
        elif kind in _FILES:
            files.append(key)
        else:
            servers.append(key)
    return Moves(tuple(files), tuple(servers), tuple(stay), tuple(left))


def same_place(old: Target, new: Target) -> bool:
    """Whether two forms would run at one place, so that there is nothing to move to."""
    if isinstance(old, ComposeTarget) and isinstance(new, ComposeTarget):
        return (old.project, old.context, old.engine) == (new.project, new.context, new.engine)
    if isinstance(old, KubernetesTarget) and isinstance(new, KubernetesTarget):
        return (old.context, old.namespace, old.release) == (new.context, new.namespace, new.release)
    return old.kind == new.kind


def describe(target: Target) -> str:
    """Where a form runs, in words."""
    if isinstance(target, ComposeTarget):
        where = (
            target.engine.host if target.engine else f"context {target.context}" if target.context else "here"
        )
        return f"compose project {target.project} ({where})"
    if isinstance(target, KubernetesTarget):
        return f"release {target.release} in {target.namespace} of {target.context}"
    return "processes of this machine"


def plan_migration(
    old: Stack, new: Stack, words: tuple[str, str], done: Sequence[StepName], snapshot: str
) -> Plan:
    """What a migration would do, from where an earlier one got to. `words` are the names of the two forms."""
    found = moves(old, new)
    before, after = words
    texts: dict[StepName, list[Step]] = {
        "backup": [Step("create", f"snapshot of {old.stack}", f"every part of the form {before}, verified")],
        "files": [Step("fetch", key, f"into {describe(new.target)}") for key in found.files],
        "deploy": [Step("create", f"form/{after}", describe(new.target))],
        "servers": [Step("fetch", key, "into its server there") for key in found.servers],
        "verify": [Step("check", f"form/{after}", "digests and counts of each part, health, smoke test")],
        "switch": [
            Step("switch", f"stack/{old.stack}", f"{before} -> {after}: verbs act on {after} from then on")
        ],
    }
    steps: list[Step] = []
    for name in STEPS:
        said = snapshot if name == "backup" else "in an earlier run"
        over = [Step("keep", step.subject, f"done: {said}") for step in texts[name]]
        steps += over if name in done else texts[name]
    steps += [Step("keep", key, "it is outside of both forms") for key in found.stay]
    steps.append(Step("keep", f"form/{before}", f"{describe(old.target)} stays as it is until `--finish`"))
    warnings = [f"{key} is not declared in the form {after}: it stays behind" for key in found.left]
    warnings.append(f"what is written to {before} after the backup does not come along: let writers rest")
    warnings += [
        f"clients reach {name} at {', '.join(there)} then, and at {', '.join(endpoints(old)[name])} now"
        for name, there in endpoints(new).items()
        if name in endpoints(old) and there != endpoints(old)[name] and there and endpoints(old)[name]
    ]
    return Plan(f"Migrate {old.stack} from {before} to {after}", tuple(steps), tuple(warnings))


def _backed(stack: Stack) -> list[str]:
    sections = (
        ("model_cache", stack.caches), ("volume", stack.volumes), ("database", stack.databases),
        ("collection", stack.collections), ("bucket", stack.buckets),
    )  # fmt: skip
    return [f"{kind}/{name}" for kind, parts in sections for name, one in parts.items() if one.backup]


def _declared(stack: Stack) -> set[str]:
    return set(_backed(stack))


def _same_server(old: Stack, new: Stack, kind: str, name: str) -> bool:
    """Whether a part lies in a server that neither form starts, at one address."""
    if kind not in _SERVED:
        return False
    if kind == "bucket":
        before, after = old.buckets[name], new.buckets[name]
        if before.component is None and after.component is None:
            return (before.endpoint, before.bucket, before.prefix) == (
                after.endpoint,
                after.bucket,
                after.prefix,
            )
        servers = (before.component or "", after.component or "")
    elif kind == "database":
        servers = (old.databases[name].component, new.databases[name].component)
    else:
        servers = (old.collections[name].store, new.collections[name].store)
    addresses = [one.components[server].address for one, server in zip((old, new), servers, strict=True)]
    return addresses[0] is not None and addresses[0] == addresses[1]
