"""Added adapters in a Compose project: a service, a volume and a backend of HAProxy, each a copy of one there."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ops_pipelines.errors import UsageError
from ops_pipelines.policy.adapters import renumbered
from ops_pipelines.policy.compose_project import Project, pinned_at, repinned
from ops_pipelines.stack.adapters import Adapters
from ops_pipelines.stack.components import Component
from ops_pipelines.stack.model import Stack

_SECTION = re.compile(
    r"^[ \t]*(global|defaults|frontend|backend|listen|resolvers|userlist|peers|cache|program|http-errors|ring|"
    r"log-forward|mailers|fcgi-app|crt-store|traces)\b[ \t]*(\S*)",
    re.MULTILINE,
)
"""How a section of HAProxy's configuration begins (its manual, chapters 3 to 11)."""
_BY_PATH = re.compile(r"^[ \t]*use_backend[ \t]+%\[", re.MULTILINE)
_PORTED = ("ports", "expose", "environment", "command", "entrypoint", "healthcheck", "labels")


def with_added(project: Project, stack: Stack) -> Project:
    """The project with the service of each added adapter, which the stack has as components already.

    Raises UsageError where the files have no such service, or a proxy that would send nobody to it."""
    rule = stack.adapters
    if rule is None or not rule.models:
        return project
    if rule.like not in project.services:
        raise UsageError(
            f"the Compose files of {stack.stack} have no service {rule.like}, which added adapters are to be like",
            remedy="correct `adapters.like`, or the files",
        )
    model = copy.deepcopy(dict(project.model))
    for name in rule.models:
        _add_service(model, stack, rule.like, name)
    grown = replace(project, model=model)
    return grown if rule.proxy is None else _with_backends(grown, stack, rule, rule.proxy)


def backends(text: str, like: str, added: Mapping[str, tuple[int, int]]) -> str | None:
    """HAProxy's configuration with a backend more for each name (its port, that of `like`), a copy of the backend
    `like`; None where it has none, or does not choose the backend by the path."""
    section = _backend(text, like)
    if section is None or not _BY_PATH.search(text):
        return None
    copies = []
    for name, (port, old) in added.items():
        named = re.sub(rf"(?<![\w-]){re.escape(like)}(?![\w-])", name, section)
        copies.append(renumbered(named, old, port))
    return text.rstrip("\n") + "\n\n" + "\n\n".join(copies) + "\n"


def _backend(text: str, name: str) -> str | None:
    """The section of one backend, without the comments that belong to what follows."""
    begins = list(_SECTION.finditer(text))
    for one, following in zip(begins, [*begins[1:], None], strict=True):
        if (one[1], one[2]) == ("backend", name):
            lines = text[one.start() : following.start() if following else len(text)].rstrip().split("\n")
            while lines[-1].startswith("#") or not lines[-1].strip():
                lines.pop()
            return "\n".join(lines)
    return None


def _with_backends(project: Project, stack: Stack, rule: Adapters, proxy: str) -> Project:
    text = pinned_at(project, proxy, rule.file) if proxy in project.services else None
    if text is None:
        raise UsageError(
            f"service {proxy} of {stack.stack} mounts no file of the stack's folder at {rule.file}",
            remedy="correct `adapters.proxy` and `adapters.file`, or mount its configuration there",
        )
    old = stack.components[rule.like].ports["http"]
    made = backends(
        text, rule.like, {name: (stack.components[name].ports["http"], old) for name in rule.models}
    )
    if made is None:
        raise UsageError(
            f"the configuration of {proxy} has no `backend {rule.like}`, or says in its frontend where each path "
            "leads: nobody would be sent to an added adapter",
            remedy=f"give {rule.like} a backend of its name, and let the frontend choose by the path: "
            "`use_backend %[path,field(2,/)]`",
        )
    return repinned(project, proxy, rule.file, made)


def _add_service(model: dict[str, Any], stack: Stack, like: str, name: str) -> None:
    service = copy.deepcopy(model["services"][like])
    pattern, component = stack.components[like], stack.components[name]
    service.pop("container_name", None)
    old, new = pattern.ports["http"], component.ports["http"]
    for key in _PORTED:
        if key in service:
            service[key] = _renumbered(service[key], old, new)
    volumes = dict(zip(pattern.volumes, component.volumes, strict=True))
    service["volumes"] = [_remounted(one, volumes) for one in service.get("volumes") or ()]
    declared = dict(model.get("volumes") or {})
    for source, target in volumes.items():
        if source != target and source in declared:
            kept = {key: value for key, value in (declared[source] or {}).items() if key != "name"}
            declared[target] = kept
    model["volumes"] = declared
    _place(service, component)
    model["services"][name] = service


def _renumbered(value: Any, old: int, new: int) -> Any:
    if isinstance(value, str):
        return renumbered(value, old, new)
    if isinstance(value, list):
        return [_renumbered(one, old, new) for one in value]
    if isinstance(value, dict):
        return {key: _renumbered(one, old, new) for key, one in value.items()}
    return new if value == old and not isinstance(value, bool) else value


def _remounted(mount: Any, volumes: Mapping[str, str]) -> Any:
    if isinstance(mount, str):
        source, colon, rest = mount.partition(":")
        return f"{volumes.get(source, source)}{colon}{rest}"
    return {**mount, "source": volumes.get(mount["source"], mount["source"])} if "source" in mount else mount


def _place(service: dict[str, Any], component: Component) -> None:
    """Give the service's devices the adapter's card."""
    resources = (service.get("deploy") or {}).get("resources") or {}
    for device in (resources.get("reservations") or {}).get("devices") or ():
        if component.resources.gpu is not None and "gpu" in (device.get("capabilities") or ()):
            device.pop("count", None)
            device["device_ids"] = [str(component.resources.gpu)]
