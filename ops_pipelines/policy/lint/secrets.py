"""Rules on passwords: the loader refuses literal ones, these find well-known, blank and unused ones."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ops_pipelines.policy.lint.rule import Found, Rule, flag, started
from ops_pipelines.stack.components import Component
from ops_pipelines.stack.model import Stack
from ops_pipelines.stack.safeguards import Hooks

DEFAULTS = re.compile(
    r"minioadmin|sk-1234|changeme|change[-_]?me|password123|mysecret(key)?|admin123|letmein|supersecret"
    r"|some[-_]?secret|your[-_].*|rustfsadmin|miniosecret|myredissecret"
)
OPEN: Mapping[str, tuple[str, ...]] = {
    "POSTGRES_HOST_AUTH_METHOD": ("trust",),
    "ALLOW_EMPTY_PASSWORD": ("yes", "true", "1"),
    "MYSQL_ALLOW_EMPTY_PASSWORD": ("yes", "true", "1"),
    "CLICKHOUSE_SKIP_USER_SETUP": ("1", "true"),
    "GF_AUTH_ANONYMOUS_ENABLED": ("true",),
    "AUTHENTICATION_DISABLED": ("true", "1"),
}
_ASKS = {
    "redis": (("--requirepass", "--aclfile"), ("REDIS_PASSWORD", "REDIS_ARGS", "REDISCLI_AUTH")),
    "postgres": ((), ("POSTGRES_PASSWORD", "POSTGRES_PASSWORD_FILE", "PGPASSWORD")),
    "clickhouse": ((), ("CLICKHOUSE_PASSWORD", "CLICKHOUSE_PASSWORD_FILE")),
}
BLANK = re.compile(r"(pass(word|wd)?|secret|api[_-]?key|master[_-]?key|salt)$", re.IGNORECASE)


def default_credentials(stack: Stack) -> Iterator[Found]:
    """A name or password that is in every manual (minioadmin, sk-1234): it is the first that is tried."""
    for name, component in stack.components.items():
        where = f"components.{name}"
        texts = [(f"{where}.environment.{key}", value) for key, value in component.environment.items()]
        texts += [(f"{where}.command.{index}", word) for index, word in enumerate(component.command)]
        texts += _leaves(component.settings, f"{where}.settings")
        for path, text in texts:
            value = text.rpartition("=")[2] if ".command." in path else text
            if DEFAULTS.fullmatch(value.strip().lower()):
                yield Found(
                    path, "a credential that is in every manual (not shown)", "whoever finds the port is in",
                    "make one of 32 random characters and refer to it: a secret under `secrets`, "
                    f"given to {name} in components.{name}.secrets",
                )  # fmt: skip


def open_door(stack: Stack) -> Iterator[Found]:
    """A setting that lets everybody in without a password, or a password that is set to nothing."""
    for name, component in stack.components.items():
        for key, value in component.environment.items():
            path = f"components.{name}.environment.{key}"
            if value.strip().lower() in OPEN.get(key, ()):
                breaks = "whoever reaches the port is in"
                yield Found(path, f"{key}: {value}", breaks, "take it out and give the server a password")
            elif not value.strip() and BLANK.search(key):
                breaks = "most servers take a blank password for none"
                remedy = f"refer to a secret in components.{name}.secrets"
                yield Found(path, f"{key} set to nothing", breaks, remedy)


def no_password(stack: Stack) -> Iterator[Found]:
    """A database server that is given no password at all: published by accident, it is everybody's."""
    for name, component in started(stack).items():
        if component.kind not in _ASKS or stack.target.kind == "process" or _asks(stack, name, component):
            continue
        yield Found(
            f"components.{name}", f"{component.kind} without a password",
            "whoever reaches its port reads and writes it",
            f"declare the database under `databases` with `component: {name}` and a `password`",
        )  # fmt: skip


def _asks(stack: Stack, name: str, component: Component) -> bool:
    options, variables = _ASKS[component.kind]
    by_option = any(flag(component, option) is not None for option in options)
    by_variable = any(variable in component.secrets for variable in variables)
    declared = any(one.component == name and one.password for one in stack.databases.values())
    return by_option or by_variable or declared


def secret_unused(stack: Stack) -> Iterator[Found]:
    """A secret that nothing refers to: most often the server that should have it runs without."""
    used: set[str | None] = {*stack.notify.urls}
    if stack.backup is not None:
        used |= {stack.backup.access_key, stack.backup.secret_key, *_given(stack.backup.hooks)}
        if (encrypt := stack.backup.encrypt) is not None:
            used |= {encrypt.identity, *(encrypt.secrets if isinstance(encrypt.secrets, list) else ())}
    for component in stack.components.values():
        used |= {*component.secrets.values(), *component.environment.values(), *component.command}
        used |= {text for _, text in _leaves(component.settings, "")}
    used |= {model.token for model in stack.models.values()}
    for database in stack.databases.values():
        used.add(database.password)
    used |= {collection.token for collection in stack.collections.values()}
    for bucket in stack.buckets.values():
        used |= {bucket.access_key, bucket.secret_key}
    for options in (stack.caches, stack.collections, stack.databases, stack.volumes, stack.buckets):
        for part in options.values():
            used |= {*part.needs, *_given(part.hooks)}
    for name in stack.secrets:
        if name not in used:
            breaks = "whatever should be given it runs without"
            remedy = (
                "name it where it belongs (a component's `secrets`, a database's `password`), or remove it"
            )
            yield Found(f"secrets.{name}", "a secret that nothing uses", breaks, remedy, "warning")


def _given(hooks: Hooks) -> set[str]:
    """Secrets that hooks are given."""
    return {name for hook in (*hooks.before, *hooks.after) for name in hook.secrets.values()}


def _leaves(value: Any, path: str) -> list[tuple[str, str]]:
    """(dotted path, text) of every text in a tree of settings."""
    if isinstance(value, Mapping):
        return [leaf for key, below in value.items() for leaf in _leaves(below, f"{path}.{key}")]
    if isinstance(value, list):
        return [leaf for index, below in enumerate(value) for leaf in _leaves(below, f"{path}.{index}")]
    return [(path, value)] if isinstance(value, str) else []


RULES = (
    Rule("default-credentials", (24,), default_credentials),
    Rule("open-door", (24,), open_door),
    Rule("no-password", (24,), no_password),
    Rule("secret-unused", (24,), secret_unused),
)
