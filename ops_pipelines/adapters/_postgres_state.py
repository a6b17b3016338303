"""What a PostgreSQL database is, read in one transaction; and the statements that make another one the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from psycopg import Connection
from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

from ops_pipelines.policy.databases import DatabaseState, Grant, Setting

_TABLES = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
AND n.nspname NOT LIKE 'pg\\_toast%' AND NOT EXISTS (
  SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1, 2
"""
"""Tables whose rows a dump holds: no temporary ones, none that belong to an extension."""

_ROLES = """
WITH here AS (SELECT oid, datdba FROM pg_database WHERE datname = current_database()),
found AS (
  SELECT d.refobjid AS role FROM pg_shdepend d, here
    WHERE d.refclassid = 'pg_authid'::regclass
    AND (d.dbid = here.oid OR (d.classid = 'pg_database'::regclass AND d.objid = here.oid))
  UNION SELECT datdba FROM here
  UNION SELECT s.setrole FROM pg_db_role_setting s JOIN here ON s.setdatabase = here.oid
  UNION SELECT relowner FROM pg_class WHERE oid >= 16384
  UNION SELECT nspowner FROM pg_namespace WHERE oid >= 16384
  UNION SELECT proowner FROM pg_proc WHERE oid >= 16384
  UNION SELECT typowner FROM pg_type WHERE oid >= 16384)
SELECT DISTINCT r.rolname FROM found JOIN pg_roles r ON r.oid = found.role
WHERE r.rolname NOT LIKE 'pg\\_%' ORDER BY 1
"""
"""Owners and grantees. What the first superuser owns is not in pg_shdepend, so owners are looked up too."""

_SETTINGS = """
SELECT split_part(entry, '=', 1), substr(entry, strpos(entry, '=') + 1), r.rolname
FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) entry LEFT JOIN pg_roles r ON r.oid = s.setrole
WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY 3, 1
"""

_GRANTS = """
SELECT r.rolname, a.privilege_type, a.is_grantable FROM pg_database d, aclexplode(d.datacl) a
LEFT JOIN pg_roles r ON r.oid = a.grantee WHERE d.datname = current_database() ORDER BY 1, 2
"""

_LISTS = {
    "local_preload_libraries", "search_path", "session_preload_libraries", "temp_tablespaces",
}  # fmt: skip
"""Settings that are lists, kept quoted already (PostgreSQL's GUC_LIST_QUOTE)."""
_RIGHTS = {"CONNECT": SQL("CONNECT"), "CREATE": SQL("CREATE"), "TEMPORARY": SQL("TEMPORARY")}
_SETTING_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)*")


def read_state(connection: Connection[Any], counted: Callable[[int], None]) -> DatabaseState:
    """The database of a connection, its tables counted row by row; `counted` gets the rows so far.

    In one REPEATABLE READ transaction all of it is of one moment."""
    tables: dict[str, int] = {}
    for schema, table in connection.execute(_TABLES).fetchall():
        name = Identifier(schema, table)
        tables[f"{schema}.{table}"] = _one(connection, SQL("SELECT count(*) FROM ONLY {}").format(name))
        counted(sum(tables.values()))
    row = connection.execute(
        "SELECT to_jsonb(d), pg_encoding_to_char(encoding), pg_get_userbyid(datdba) FROM pg_database d"
        " WHERE datname = current_database()"
    ).fetchone()
    if row is None:
        raise LookupError("a connection without a database")
    raw, encoding, owner = row
    extensions = connection.execute("SELECT extname, extversion FROM pg_extension ORDER BY 1").fetchall()
    grants = connection.execute(_GRANTS).fetchall()
    return DatabaseState(
        server=connection.info.server_version,
        tables=tables,
        extensions=dict(extensions),
        roles=tuple(role for (role,) in connection.execute(_ROLES).fetchall()),
        owner=owner,
        encoding=encoding,
        collate=raw["datcollate"],
        ctype=raw["datctype"],
        provider=raw.get("datlocprovider", "c"),
        locale=raw.get("datlocale") or raw.get("daticulocale"),
        settings=tuple(Setting(*setting) for setting in connection.execute(_SETTINGS).fetchall()),
        grants=tuple(Grant(*grant) for grant in grants) if raw["datacl"] is not None else None,
    )


def create_statement(database: str, like: DatabaseState) -> Composed:
    """CREATE DATABASE with the encoding, collation and owner of another."""
    words = [
        SQL("CREATE DATABASE {} TEMPLATE template0 OWNER {}").format(
            Identifier(database), Identifier(like.owner)
        ),
        SQL("ENCODING {}").format(Literal(like.encoding)),
        SQL("LC_COLLATE {} LC_CTYPE {}").format(Literal(like.collate), Literal(like.ctype)),
    ]
    if like.provider == "i":
        words.append(SQL("LOCALE_PROVIDER icu ICU_LOCALE {}").format(Literal(like.locale)))
    elif like.provider == "b":
        words.append(SQL("LOCALE_PROVIDER builtin BUILTIN_LOCALE {}").format(Literal(like.locale)))
    return SQL(" ").join(words)


def property_statements(database: str, like: DatabaseState) -> list[Composed]:
    """Settings and rights of a database, which a dump of its content leaves out."""
    name = Identifier(database)
    statements: list[Composed] = []
    for setting in like.settings:
        if not _SETTING_NAME.fullmatch(setting.name):
            raise ValueError(f"not the name of a setting: {setting.name[:80]!r}")
        whose = (
            SQL("ALTER DATABASE {}").format(name)
            if setting.role is None
            else SQL("ALTER ROLE {} IN DATABASE {}").format(Identifier(setting.role), name)
        )
        value: Composable = _list(setting.value) if setting.name in _LISTS else Literal(setting.value)
        parts = Identifier(*setting.name.split("."))
        statements.append(SQL("{} SET {} TO {}").format(whose, parts, value))
    if like.grants is not None:
        statements.append(SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))
        for grant in like.grants:
            if grant.right not in _RIGHTS:
                raise ValueError(f"not a right on a database: {grant.right[:80]!r}")
            who = SQL("PUBLIC") if grant.role is None else Identifier(grant.role)
            option = SQL(" WITH GRANT OPTION") if grant.grantable and grant.role != like.owner else SQL("")
            words = SQL("GRANT {} ON DATABASE {} TO {}{}")
            statements.append(words.format(_RIGHTS[grant.right], name, who, option))
    return statements


def role_statements(roles_dump: str, role: str) -> list[str]:
    """Lines of a `pg_dumpall --roles-only` that make one role, its own settings included."""
    words = ("CREATE ROLE {};", "ALTER ROLE {} WITH ", "ALTER ROLE {} SET ")
    starts = tuple(word.format(name) for name in _spellings(role) for word in words)
    return [line for line in roles_dump.splitlines() if line.startswith(starts)]


def membership_statements(roles_dump: str, made: Sequence[str], present: Sequence[str]) -> list[str]:
    """Statements that make each role of `made` a member of the groups it was in, as far as they are `present`."""
    lines = set()
    for line in roles_dump.splitlines():
        words = line.partition(" GRANTED BY ")[0].rstrip(";")
        lines.add(words.partition(" WITH ")[0])
    return [
        f"{statement};"
        for member in made
        for group in present
        for group_name in _spellings(group)
        for member_name in _spellings(member)
        if (statement := f"GRANT {group_name} TO {member_name}") in lines
    ]


def _spellings(role: str) -> list[str]:
    """How a dump may write a role's name."""
    quoted = '"' + role.replace('"', '""') + '"'
    return [quoted, role] if re.fullmatch(r"[a-z_][a-z0-9_$]*", role) else [quoted]


def _list(value: str) -> Composed:
    """The names of a list as they were kept: quoted where they must be."""
    names = [item.strip() for item in value.split(",")]
    return SQL(", ").join(Identifier(item.strip('"')) if item != '""' else Literal("") for item in names)


def _one(connection: Connection[Any], query: Composed) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0
