"""ClickHouse's SQL: names, texts, and views that follow a database to another name."""

from __future__ import annotations

from collections.abc import Mapping

VIEWS = "('View', 'MaterializedView', 'Dictionary')"


def identifier(word: str) -> str:
    """A name."""
    return "`" + word.replace("\\", "\\\\").replace("`", "\\`") + "`"


def literal(word: str) -> str:
    """A text."""
    return "'" + word.replace("\\", "\\\\").replace("'", "\\'") + "'"


def renamed(sql: str, old: str, new: str) -> str:
    """SQL as the server shows it, in which a database has another name. `old` occurs in it as that name alone."""
    quoted = sql.replace(identifier(old), identifier(new)).replace(literal(old), literal(new))
    return quoted.replace(f"{old}.", f"{identifier(new)}.")


def repointed(view: Mapping[str, str], old: str, new: str) -> list[str]:
    """Statements after which a view of the database `new` no longer refers to `old`, its name before.

    RENAME DATABASE leaves the text of views alone. One that holds rows is altered; the others are made anew."""
    name = f"{identifier(new)}.{identifier(view['name'])}"
    sql = renamed(view["sql"], old, new)
    if view["engine"] != "MaterializedView":
        return [sql.replace("CREATE ", "CREATE OR REPLACE ", 1)]
    if view["inner"]:
        return [f"ALTER TABLE {name} MODIFY QUERY {renamed(view['query'], old, new)}"]
    return [f"DROP VIEW IF EXISTS {name} SYNC", sql]
