"""What a database is, as a backup sees it: counts, extensions, roles, properties; and how two of them differ."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

LONGEST = 63
"""Bytes of the longest name that PostgreSQL keeps."""
_STAGED = "__restore_"
_BEFORE = "__before_"
_WORD = re.compile(r"[a-z0-9][a-z0-9_-]{0,30}")


@dataclass(frozen=True)
class Setting:
    """`ALTER DATABASE ... SET name TO value`, for all roles or one."""

    name: str
    value: str
    role: str | None = None


@dataclass(frozen=True)
class Grant:
    """A right on the database itself; `role` None is everybody."""

    role: str | None
    right: str
    grantable: bool = False


@dataclass(frozen=True)
class DatabaseState:
    """One database at one moment."""

    server: int
    """Version of the server as a number: 150014 is 15.14."""
    tables: Mapping[str, int]
    """Rows by table (`schema.table`), counted."""
    extensions: Mapping[str, str]
    """Version by extension."""
    roles: tuple[str, ...]
    """Roles that own something in it or have rights on it, its owner included."""
    owner: str
    encoding: str
    collate: str
    ctype: str
    provider: str = "c"
    """Where its collation comes from: `c` the C library, `i` ICU, `b` built in."""
    locale: str | None = None
    """ICU or built-in locale, where the provider is not the C library."""
    settings: tuple[Setting, ...] = ()
    grants: tuple[Grant, ...] | None = None
    """Rights on the database; None where nobody changed them from what a new one has."""

    @property
    def major(self) -> int:
        """Major version of the server."""
        return self.server // 10000

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(self.tables.values())

    def to_facts(self) -> dict[str, Any]:
        """As a part's facts."""
        return {**asdict(self), "rows": self.rows, "roles": list(self.roles)}


def from_facts(facts: Mapping[str, Any]) -> DatabaseState:
    """The state that a part's facts hold. Raises ValueError where they hold none."""
    try:
        grants = facts["grants"]
        return DatabaseState(
            server=facts["server"],
            tables=dict(facts["tables"]),
            extensions=dict(facts["extensions"]),
            roles=tuple(facts["roles"]),
            owner=facts["owner"],
            encoding=facts["encoding"],
            collate=facts["collate"],
            ctype=facts["ctype"],
            provider=facts["provider"],
            locale=facts["locale"],
            settings=tuple(Setting(**setting) for setting in facts["settings"]),
            grants=None if grants is None else tuple(Grant(**grant) for grant in grants),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"the facts are not a database's: {error}") from error


@dataclass(frozen=True)
class Difference:
    """One way in which a database is not what it was."""

    subject: str
    message: str
    severe: bool = field(default=True)


def differences(wanted: DatabaseState, found: DatabaseState) -> tuple[Difference, ...]:
    """How `found` differs from `wanted`: tables, rows, extensions. Another version of an extension is no loss."""
    result = []
    for table, rows in sorted(wanted.tables.items()):
        if table not in found.tables:
            result.append(Difference(table, "is missing"))
        elif found.tables[table] != rows:
            result.append(Difference(table, f"has {found.tables[table]} rows instead of {rows}"))
    extra = sorted(found.tables.keys() - wanted.tables.keys())
    result += [Difference(table, "is not in the snapshot") for table in extra]
    for name, version in sorted(wanted.extensions.items()):
        if name not in found.extensions:
            result.append(Difference(f"extension {name}", "is missing"))
        elif found.extensions[name] != version:
            message = f"is version {found.extensions[name]}; it was {version}"
            result.append(Difference(f"extension {name}", message, severe=False))
    return tuple(result)


def staged_name(database: str, word: str) -> str:
    """Name of the database that is restored beside `database`. Raises ValueError where `word` cannot be one."""
    if not _WORD.fullmatch(word):
        raise ValueError(f"{word!r} names no place: use lower-case letters, digits, - and _, at most 31")
    return _beside(database, _STAGED + word)


def before_name(database: str, word: str) -> str:
    """Name under which the database that was live is kept."""
    return _beside(database, _BEFORE + word)


def word_of(database: str, place: str) -> str | None:
    """The word of a place that `staged_name` made for this database, or None where it did not."""
    word = place.rpartition(_STAGED)[2]
    return word if _WORD.fullmatch(word) and place == staged_name(database, word) else None


def _beside(database: str, ending: str) -> str:
    kept = database.encode()[: LONGEST - len(ending)].decode("utf-8", "ignore")
    return kept + ending
