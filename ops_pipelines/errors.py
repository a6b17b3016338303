"""Every error of the project: what is wrong, and what to do about it.

Each error carries a `remedy`, the one thing that mends it, said to a person who reads no source. The
command line prints both and exits with `exit_code`; a Dagster run fails with the same two sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Located(Protocol):
    """One problem of a file; its text says where, what was found, what would break and what mends it."""

    def __str__(self) -> str: ...


class OpsError(Exception):
    """The base of all errors that a user can meet.

    `message` says what was found, `remedy` what mends it. Neither may hold the value of a secret.
    """

    exit_code = 1

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  What to do: {self.remedy}" if self.remedy else self.message


class UsageError(OpsError):
    """A command was called with words that mean nothing here."""

    exit_code = 2


class DeclarationError(OpsError):
    """A stack file has problems; all of them are in `problems`."""

    def __init__(self, problems: Sequence[Located]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        lines = "\n".join(str(problem) for problem in self.problems)
        super().__init__(
            f"{count} problem{'s' if count != 1 else ''} in the declaration:\n{lines}",
            remedy="",
        )


class UnknownStack(OpsError):
    """No stack of that name is declared."""

    exit_code = 2


class SecretMissing(OpsError):
    """A secret that a stack refers to is not set, empty or unreadable."""


class CommandFailed(OpsError):
    """A command that was run ended badly; `output` is the tail of what it printed."""

    def __init__(self, message: str, *, remedy: str, output: str = "") -> None:
        super().__init__(f"{message}\n{output.rstrip()}" if output.strip() else message, remedy=remedy)
        self.output = output


class CommandMissing(OpsError):
    """A program that is needed is not installed."""


class Unreachable(OpsError):
    """A server did not answer: refused, timed out or gone."""


class Refused(OpsError):
    """A server answered and said no: credentials, rights, a gated model, a bad request."""


class ClusterRefused(Refused):
    """A cluster's API server said no. `code` is its HTTP status, `reason` its word for it (`Forbidden`, `Conflict`)."""

    def __init__(self, message: str, *, remedy: str, code: int, reason: str = "", said: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.code = code
        self.reason = reason
        self.said = said


# --- the object store ---


class StoreError(OpsError):
    """The object store could not do what was asked."""


class ObjectMissing(StoreError):
    """An object that was expected is not in the bucket."""


class ObjectLocked(StoreError):
    """Some objects could not be deleted, as the bucket locks them; all others were."""


class PreconditionFailed(StoreError):
    """A conditional write lost: the object exists already, or changed in between."""


class ChecksumMismatch(StoreError):
    """Content is not what its digest says."""


# --- backups ---


class LeaseHeld(OpsError):
    """Somebody else is changing this stack."""


class LeaseLost(OpsError):
    """This holder's lease was taken over while it worked; nothing more may be changed."""


class SnapshotUnknown(OpsError):
    """No such snapshot in the bucket."""

    exit_code = 2


class SnapshotLate(SnapshotUnknown):
    """A manifest that was written after its backup had lost the lease: no snapshot."""


class SnapshotDamaged(OpsError):
    """A manifest or a blob of a snapshot is missing, truncated or altered."""


class FormatTooNew(OpsError):
    """The bucket was written by a newer version of this project."""


class SecretMismatch(OpsError):
    """A secret that a part of a snapshot cannot be read without is another one now, or is not set."""


class IdentityMissing(OpsError):
    """Nothing here holds the private key of those that a part of a snapshot is encrypted for."""


class HookFailed(OpsError):
    """A hook that lets something go after a backup failed: something may be held still yet."""


class PartFailed(OpsError):
    """One part could not be captured or restored."""


class PartChanged(PartFailed):
    """Somebody wrote to a part between the reading of it and its storing: reading it again may do."""


class LimitReached(OpsError):
    """Work was ended by a limit that was declared for it: time or room."""


# --- deployments, models, collections ----------------------------------------------------------------------


class PreflightFailed(OpsError):
    """Something that a deploy needs is not there; nothing was changed."""


class DeployFailed(OpsError):
    """A deploy failed and the earlier revision was put back."""


class RevisionUnknown(OpsError):
    """No such revision is recorded for the stack."""

    exit_code = 2


class TargetUnsupported(OpsError):
    """The stack's target cannot be acted on by this version."""


class CacheDamaged(OpsError):
    """A model cache holds content that is not what its digest says."""


class SchemaMismatch(OpsError):
    """A collection, a model and a declaration do not fit each other."""


class StaleDecision(OpsError):
    """A scaling decision was made on readings that no longer hold."""
