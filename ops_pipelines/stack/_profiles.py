"""The profile in force, laid over the declaration."""

from __future__ import annotations

from collections.abc import Mapping

from ops_pipelines.stack._includes import Work
from ops_pipelines.stack._merge import Entry, Scalar, Table, apply_profile
from ops_pipelines.stack._problems import Problem, nearest, shown
from ops_pipelines.stack.references import fill

_OURS = ("include", "profile", "profiles")
_OTHER_PROFILE = "ask for another one or for none, or add it under `profiles:`"


def profiled(whole: Table, asked: str | None, work: Work) -> tuple[str | None, tuple[str, ...], Table]:
    """The profile in force, those there are, and the declaration with its overrides worked in."""
    base = Table({key: entry for key, entry in whole.entries.items() if key not in _OURS}, whole.at)
    entry = whole.entries.get("profiles")
    if entry and not isinstance(entry.node, Table):
        found, remedy = shown(entry.node, ("profiles",)), "write `profiles: {local: {…}}`"
        work.note(entry.at, "profiles", found, "overrides by profile are needed here", remedy)
        return None, (), base
    profiles = entry.node.entries if entry and isinstance(entry.node, Table) else {}
    name, at = asked, entry.at if entry else whole.at
    if name is None and (chosen := whole.entries.get("profile")):
        name, at = _chosen(chosen, work), chosen.at
    if name is None:
        return None, tuple(profiles), base
    if name not in profiles:
        found = f"no profile `{name}`" + (" (asked for by the caller)" if asked is not None else "")
        known = f"known profiles: {', '.join(profiles)}" if profiles else "this file has no profiles"
        guess = nearest(name, profiles)
        work.note(at, "profile", found, known, f"did you mean `{guess}`?" if guess else _OTHER_PROFILE)
        return None, tuple(profiles), base
    for step in _chain(name, profiles, work):
        base = _overridden(base, step, profiles[step], work)
    return name, tuple(profiles), base


def _chain(name: str, profiles: Mapping[str, Entry], work: Work) -> list[str]:
    """The profiles that one extends, the furthest first, and itself."""
    chain = [name]
    while True:
        table = profiles[chain[0]].node
        entry = table.entries.get("extends") if isinstance(table, Table) else None
        if entry is None:
            return chain
        other = entry.node.text if isinstance(entry.node, Scalar) else ""
        if other in profiles and other not in chain:
            chain.insert(0, other)
            continue
        where, known = f"profiles.{chain[0]}.extends", f"known profiles: {', '.join(profiles)}"
        found, remedy = f"no profile `{other}`", "name one of them"
        if other in chain:
            found = f"profiles that extend each other: {' → '.join([*reversed(chain), other])}"
            known, remedy = "they have no end", "take one `extends` out of the circle"
        elif guess := nearest(other, profiles):
            remedy = f"did you mean `{guess}`?"
        work.note(entry.at, where, found, known, remedy)
        work.complete = False
        return chain


def _chosen(entry: Entry, work: Work) -> str | None:
    if not isinstance(entry.node, Scalar) or (entry.node.value is not None and not entry.node.text):
        work.note(
            entry.at,
            "profile",
            shown(entry.node, ("profile",)),
            "a name is needed here",
            "write `profile: NAME`",
        )
        return None
    text, mistakes = fill(entry.node.text, work.reading.environ)
    for mistake in mistakes:
        work.note(entry.at, "profile", *mistake)
    return None if mistakes or entry.node.value is None else text


def _overridden(base: Table, name: str, profile: Entry, work: Work) -> Table:
    where = f"profiles.{name}"
    if isinstance(profile.node, Scalar) and profile.node.value is None:
        return base  # `local:` with nothing below it changes nothing
    if not isinstance(profile.node, Table):
        found, remedy = shown(profile.node, (where,)), "write `key: value` lines below it"
        work.note(profile.at, where, found, "keys that override are needed here", remedy)
        return base
    entries = {key: entry for key, entry in profile.node.entries.items() if key != "extends"}
    for key in [key for key in entries if key in _OURS]:
        found, remedy = f"`{key}` inside a profile", "move it to the top level of the file"
        work.note(entries.pop(key).key_at, f"{where}.{key}", found, "it would set nothing", remedy)
    tree, idle = apply_profile(base, Table(entries, profile.node.at))
    for path, at in idle:
        found, remedy = f"`{path}: null` removes nothing", "check the key, or remove the line"
        gone = Problem(*at, f"{where}.{path}", found, "nothing is declared there", remedy, "warning")
        work.problems.append(gone)
    return tree
