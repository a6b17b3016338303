"""What applying objects would change, from what is live and what the API server says it would make of it.

The server's own answer to a dry run has its defaults filled in and has gone through its webhooks, so that nothing shows
as a difference which is none. What the server writes by itself is left out on both sides.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ops_pipelines.policy.kube_objects import Key, Object, is_hook, is_kept, key_of, masked
from ops_pipelines.policy.plan import Plan, Step, Verb

_LINES = 20
"""Differences of one object that a plan shows; how many more there are is said."""
_LONG = 80
_PEOPLE = ("kubectl", "k9s", "Lens", "OpenLens", "Headlamp", "headlamp", "dashboard", "Mozilla")
"""How the names begin under which people change things; controllers have theirs."""
_RESTARTED = "kubectl-rollout"
"""`kubectl rollout restart` changes nothing that anybody declared."""
_SERVER_META = (
    "managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink", "ownerReferences",
    "finalizers", "deletionTimestamp", "deletionGracePeriodSeconds",
)  # fmt: skip
_SERVER_NOTES = (
    "deployment.kubernetes.io/",
    "kubectl.kubernetes.io/",
    "pv.kubernetes.io/",
    "volume.kubernetes.io/",
    "volume.beta.kubernetes.io/",
    "ops-pipelines.io/",
    "autoscaling.alpha.kubernetes.io/",
)


@dataclass(frozen=True)
class Tried:
    """What the API server said to one object of a release."""

    key: Key
    live: Object | None
    """None where it is not there."""
    after: Object | None
    """What it would be; None where it would be removed, or the server was not asked or refused."""
    refused: str = ""
    """What the server said against it."""
    code: int = 0
    """Its HTTP status then."""
    owners: tuple[str, ...] = ()
    """Who else set fields that would be overwritten."""


def differences(before: Object, after: Object) -> tuple[str, ...]:
    """Each field that differs, as `path: old → new`. Values of secrets are `***`."""
    old, new = without_noise(masked(before)), without_noise(masked(after))
    return tuple(_differences("", old, new))


def without_noise(found: Object) -> dict[str, Any]:
    """The object without what the server, its controllers and this project write beside what was declared."""
    one = copy.copy(dict(found))
    one.pop("status", None)
    meta = {k: v for k, v in (one.get("metadata") or {}).items() if k not in _SERVER_META}
    notes = {k: v for k, v in (meta.get("annotations") or {}).items() if not str(k).startswith(_SERVER_NOTES)}
    meta["annotations"] = notes
    one["metadata"] = {k: v for k, v in meta.items() if v not in ({}, None)}
    return one


def _differences(path: str, old: Any, new: Any) -> Iterator[str]:
    if old == new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys((*old, *new)):
            yield from _differences(f"{path}.{key}" if path else str(key), old.get(key), new.get(key))
        return
    if isinstance(old, list) and isinstance(new, list):
        names = _names(old), _names(new)
        if names[0] is not None and names[1] is not None:
            for name in dict.fromkeys((*names[0], *names[1])):
                yield from _differences(f"{path}[{name}]", names[0].get(name), names[1].get(name))
            return
        if len(old) == len(new):
            for place, (left, right) in enumerate(zip(old, new, strict=True)):
                yield from _differences(f"{path}[{place}]", left, right)
            return
    yield f"{path}: {_shown(old)} → {_shown(new)}"


def _names(items: Sequence[Any]) -> dict[str, Any] | None:
    """Items of a list by their names, where each has one of its own."""
    found = {str(one["name"]): one for one in items if isinstance(one, Mapping) and "name" in one}
    return found if len(found) == len(items) else None


def _shown(value: Any) -> str:
    if value is None:
        return "(none)"
    text = value if isinstance(value, str) else str(value)
    text = text.replace("\n", "⏎")
    return text if len(text) <= _LONG else f"{text[: _LONG - 1]}…"


def steps_of(
    tried: Iterable[Tried], gone: Iterable[tuple[Key, bool]], components: Mapping[Key, str]
) -> Iterator[Step]:
    """Steps of a plan in the order of the objects; `gone` are (key, stays) of those that are wanted no longer."""
    for one in tried:
        subject = f"component/{components[one.key]}" if one.key in components else str(one.key)
        prefix = f"{one.key}: " if one.key in components else ""
        if one.refused:
            yield Step("check", subject, f"{prefix}is refused: {one.refused}")
        elif one.live is None:
            yield Step("create", subject, f"{prefix}is not there" if prefix else "")
        elif one.after is None:
            yield Step("keep", subject, f"{prefix}is not asked about")
        else:
            lines = differences(one.live, one.after)
            verb: Verb = "change" if lines else "keep"
            yield Step(
                verb, subject, f"{prefix}{_listed(lines)}" if lines else str(one.key) if prefix else ""
            )
    for key, stays in gone:
        subject = f"component/{components[key]}" if key in components else str(key)
        yield Step(
            "keep" if stays else "remove", subject, "is wanted no longer" + (", and stays" if stays else "")
        )


def _listed(lines: Sequence[str]) -> str:
    more = len(lines) - _LINES
    shown = "; ".join(lines[:_LINES])
    return f"{shown}; and {more} more" if more > 0 else shown


def by_hand(tried: Iterable[Tried], components: Mapping[Key, str]) -> Iterator[Step]:
    """What people have set on live objects beside what the release says: applying it again leaves that as it is."""
    for one in tried:
        for manager, paths in _hands_on(one.live or {}):
            subject = f"component/{components[one.key]}" if one.key in components else str(one.key)
            yield Step(
                "change",
                subject,
                f"{one.key}: {manager} set {', '.join(paths)} by hand, which a deploy leaves",
            )


def _hands_on(live: Object) -> Iterator[tuple[str, list[str]]]:
    for entry in (live.get("metadata") or {}).get("managedFields") or ():
        manager = str(entry.get("manager", ""))
        if entry.get("subresource") or manager == _RESTARTED or not manager.startswith(_PEOPLE):
            continue
        paths = [
            path
            for path in _field_paths("", entry.get("fieldsV1") or {})
            if "kubectl.kubernetes.io" not in path
        ]
        if paths:
            yield manager, list(dict.fromkeys(paths))


def _field_paths(path: str, fields: Mapping[str, Any]) -> Iterator[str]:
    """Paths of `fieldsV1`: `f:name` is a field, `k:{...}` an item by its key, `.` the thing itself."""
    inner = [(key, value) for key, value in fields.items() if key != "."]
    if not inner and path:
        yield path
    for key, value in inner:
        word = key[2:]
        if key.startswith("k:"):
            named = re.search(r'"name":"([^"]+)"', word)
            yield from _field_paths(f"{path}[{named[1] if named else word}]", value)
        elif key.startswith("f:"):
            yield from _field_paths(f"{path}.{word}" if path else word, value)
        else:
            yield from _field_paths(path, value)


def gone_from(
    before: Iterable[Object], wanted: Iterable[Object], namespace: str
) -> tuple[tuple[Key, bool], ...]:
    """(key, stays) of the objects of an earlier manifest that a new one does not name."""
    keys = {key_of(one, namespace) for one in wanted}
    return tuple(
        (key_of(one, namespace), is_kept(one))
        for one in before
        if key_of(one, namespace) not in keys and not is_hook(one)
    )


def plan_of(
    title: str,
    tried: Sequence[Tried],
    gone: Sequence[tuple[Key, bool]],
    components: Mapping[Key, str],
    *,
    hooks: Sequence[str] = (),
    warnings: Sequence[str] = (),
) -> Plan:
    """The plan of applying a release. `hooks` are what Helm starts on the way."""
    steps = list(steps_of(tried, gone, components))
    if any(step.verb not in ("keep", "check") for step in steps):
        steps += [Step("start", name, "a hook of the chart") for name in hooks]
    owners = [f"{one.key}: {', '.join(one.owners)} set what this overwrites" for one in tried if one.owners]
    refusals = [f"{one.key} is refused by the cluster: {one.refused}" for one in tried if one.refused]
    return Plan(title, tuple(steps), (*warnings, *refusals, *owners))
