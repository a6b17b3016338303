"""Who may do what, and who can read the keys."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ops_pipelines.policy.lint_kube.rule import (
    UNKNOWN,
    Hit,
    KubeRule,
    Objects,
    at,
    containers,
    items,
    look,
    pods,
    scalars,
    text,
    where,
)
from ops_pipelines.stack._problems import names_secret
from ops_pipelines.stack.manifests import Scalar, Table

_KEY = re.compile(r"\b(sk-[\w-]{6,}|ghp_\w{20,}|hf_\w{20,}|AKIA[0-9A-Z]{12,}|xox[bp]-[\w-]{10,})")
_LINE = re.compile(r"^\s*[\"']?([\w.-]+)[\"']?\s*[:=]\s*[\"']?([^\s\"'#{$]\S*)", re.MULTILINE)
_DEFAULTS = frozenset({
    "minioadmin", "postgres", "password", "admin", "changeme", "secret", "sk-1234", "root", "langfuse", "default",
    "test", "redis", "clickhouse", "mysecret", "mypassword",
})  # fmt: skip


def keys_in_config(objects: Objects) -> Iterator[Hit]:
    """Keys and passwords in a ConfigMap: whoever may read the namespace has them, and backups keep them."""
    for one in objects:
        data = look(one.root, "data") if one.kind == "ConfigMap" else None
        for key, entry in (data.entries if isinstance(data, Table) else {}).items():
            value = entry.node
            if not isinstance(value, Scalar) or not value.text.strip() or value.text.startswith(UNKNOWN):
                continue
            named = names_secret(key) and "\n" not in value.text and "${" not in value.text
            inside = next(
                (m[1] for m in _LINE.finditer(value.text) if names_secret(m[1]) and _is_value(m[2])), ""
            )
            if named or inside or _KEY.search(value.text):
                found = (
                    f"`{key}`, which holds a key"
                    if not inside or named
                    else f"`{inside}` in {key}, which is a key"
                )
                yield Hit(
                    entry.at,
                    f"{where(one)}.data.{key}",
                    found,
                    "whoever may read ConfigMaps has it",
                    "put it into a Secret, and name it by secretKeyRef or a mounted file",
                )


def _is_value(word: str) -> bool:
    return len(word) > 3 and not word.startswith(
        (UNKNOWN, "os.environ", "file:", "/", "true", "false", "null", "|", ">")
    )


def key_in_clear(objects: Objects) -> Iterator[Hit]:
    """A key or password as the literal value of a variable, or a well-known one in a Secret: it stands in the file."""
    for one in containers(objects):
        for item in items(one.table, "env"):
            name, value = text(item, "name"), text(item, "value")
            if (
                isinstance(item, Table)
                and names_secret(name)
                and value
                and not value.startswith((UNKNOWN, "$("))
                and UNKNOWN not in value
            ):
                yield Hit(
                    at(item, "value"),
                    f"{one.path}.env.{name}",
                    "a literal value (not shown)",
                    "whoever reads the file or the pod has it",
                    "use valueFrom.secretKeyRef",
                )
    for each in objects:
        if each.kind != "Secret":
            continue
        data = look(each.root, "stringData")
        for key, entry in (data.entries if isinstance(data, Table) else {}).items():
            if isinstance(entry.node, Scalar) and entry.node.text.lower() in _DEFAULTS:
                yield Hit(
                    entry.at,
                    f"{where(each)}.stringData.{key}",
                    "a well-known password (not shown)",
                    "it is the first that anybody tries",
                    "make one: openssl rand -hex 32",
                )


def rights(objects: Objects) -> Iterator[Hit]:
    """A model server with SYS_ADMIN, or privileged: it needs neither, and who breaks into it has the node."""
    for one in containers(objects):
        context = look(one.table, "securityContext")
        if not isinstance(context, Table):
            continue
        added = [getattr(each, "text", "") for each in items(context, "capabilities", "add")]
        wide = [
            name for name in added if name.upper().removeprefix("CAP_") in ("SYS_ADMIN", "ALL", "SYS_PTRACE")
        ]
        agent = one.of.kind == "DaemonSet"  # device plugins, exporters, network and storage agents
        if wide and not agent:
            yield Hit(
                at(context, "capabilities", "add"),
                f"{one.path}.securityContext",
                ", ".join(wide),
                "who breaks into the container has the node",
                "leave it out: cards need a limit of nvidia.com/gpu, no right",
            )
        if text(context, "privileged") == "true" and not agent:
            yield Hit(
                at(context, "privileged"),
                f"{one.path}.securityContext",
                "a privileged container",
                "who breaks into it has the node",
                "leave it out; give devices by the device plugin",
            )


def unconfined(objects: Objects) -> Iterator[Hit]:
    """seccomp turned off: every system call of the kernel is open to whoever breaks in."""
    for one, pod in pods(objects):
        holders = [(pod, where(one))]
        holders += [(each.table, each.path) for each in containers([one])]
        for holder, path in holders:
            if text(holder, "securityContext", "seccompProfile", "type") == "Unconfined":
                yield Hit(
                    at(holder, "securityContext", "seccompProfile", "type"),
                    f"{path}.securityContext",
                    "seccomp turned off",
                    "every system call is open to whoever breaks in",
                    "write RuntimeDefault",
                )
    for one in objects:
        for path, value in scalars(look(one.root, "metadata") or one.root):
            if "seccomp.security.alpha.kubernetes.io" in path and value.text == "unconfined":
                yield Hit(
                    value.at,
                    f"{where(one)}.{path}",
                    "seccomp turned off",
                    "every system call is open",
                    "write securityContext.seccompProfile.type: RuntimeDefault",
                )


def open_service(objects: Objects) -> Iterator[Hit]:
    """A store or model server on a load balancer or every node's port: anybody who reaches it may use it."""
    inner = {6379, 5432, 9000, 8123, 19530, 6333, 6334, 27017, 11434, 10001}
    for one in objects:
        if one.kind != "Service" or text(one.root, "spec", "type") not in ("LoadBalancer", "NodePort"):
            continue
        notes = " ".join(
            f"{path}={value.text}" for path, value in scalars(look(one.root, "metadata") or one.root)
        )
        if "internal" in notes.lower() or look(one.root, "spec", "loadBalancerSourceRanges"):
            continue
        for port in items(one.root, "spec", "ports"):
            if text(port, "port").isdecimal() and int(text(port, "port")) in inner:
                yield Hit(
                    at(one.root, "spec", "type"),
                    where(one),
                    f"port {text(port, 'port')} as {text(one.root, 'spec', 'type')}",
                    "it asks nobody for a key, and is open to whoever reaches it",
                    "make it ClusterIP, behind a proxy with keys",
                    "warning",
                )
                break


RULES = (
    KubeRule("OPS-K301", "keys-in-config", (21, 24), keys_in_config),
    KubeRule("OPS-K302", "key-in-clear", (24,), key_in_clear),
    KubeRule("OPS-K303", "pod-rights", (27,), rights),
    KubeRule("OPS-K304", "seccomp-off", (24,), unconfined),
    KubeRule("OPS-K305", "open-service", (24,), open_service),
)
