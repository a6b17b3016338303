"""What psycopg's exceptions mean to a person."""

from __future__ import annotations

import psycopg

from ops_pipelines.errors import OpsError, Refused, Unreachable

_NOT_LET_IN = (
    "authentication failed", "no pg_hba", "does not exist", "no password supplied", "not permitted",
    "permission denied for database",
)  # fmt: skip


def explained(error: psycopg.Error, at: str, user: str, doing: str) -> OpsError:
    """The error that a person is told. `at` names the server, `doing` what was tried (an infinitive)."""
    words = " ".join(str(error).split())
    if error.sqlstate is None or error.sqlstate[:2] in ("08", "57"):
        if any(phrase in words for phrase in _NOT_LET_IN):
            return Refused(
                f"{at} does not let {user} in: {words}",
                remedy="check user, password and name of the database",
            )
        return Unreachable(
            f"{at} does not answer (to {doing}): {words}",
            remedy="look whether the server runs and can be reached from here",
        )
    return Refused(
        f"{at} refused to {doing}: {words}",
        remedy=f"give {user} the right to do so, or mend what the server names",
    )
