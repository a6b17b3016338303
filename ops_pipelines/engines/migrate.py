"""Move a stack from one target to another: backup, files, deploy, servers, verify, switch.

Until the switch the old form is not touched, and serves. A migration that was killed between two steps, or within one,
is gone on with by the next: what is done is in a journal, and each step may be done again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

import structlog

from ops_pipelines.engines._journal import write_durably
from ops_pipelines.engines.ports import Progress
from ops_pipelines.errors import PartFailed
from ops_pipelines.policy.migration import STEPS, StepName
from ops_pipelines.policy.plan import Finding, failed

log = structlog.get_logger()


@dataclass(frozen=True)
class Migration:
    """A migration under way, or one whose old form still stands."""

    stack: str
    source: str
    """Form that it left."""
    target: str
    begun: str
    """ISO 8601, UTC."""
    snapshot: str = ""
    done: tuple[StepName, ...] = ()

    @property
    def switched(self) -> bool:
        """Whether the new form is the stack now."""
        return "switch" in self.done


class Hands(Protocol):
    """What a migration does to the two forms. Each may be called again after a crash."""

    def backup(self, progress: Progress, /) -> str:
        """Take a snapshot of the old form and return its id, verified."""
        ...

    def files(self, snapshot: str, progress: Progress, /) -> None:
        """Put caches and volumes into the new form's places."""
        ...

    def deploy(self, snapshot: str, progress: Progress, /) -> None:
        """Start the new form, beside the old one."""
        ...

    def servers(self, snapshot: str, progress: Progress, /) -> None:
        """Put into its servers what they hold."""
        ...

    def verify(self, snapshot: str, progress: Progress, /) -> tuple[Finding, ...]:
        """Whether the new form answers as the old one did."""
        ...

    def switch(self) -> None:
        """Make the new form the stack, in one step."""
        ...


def migrate(
    begun: Migration, hands: Hands, keep: Callable[[Migration], None], progress: Progress
) -> Migration:
    """Do what is left of a migration; `keep` notes each step as it is done.

    Raises what a step raises, PartFailed where the new form does not check out: the old one serves then."""
    now = begun
    keep(now)
    for name in STEPS:
        if name in now.done:
            continue
        log.info("migration.step", stack_name=now.stack, step=name, to=now.target)
        now = _one(now, name, hands, progress)
        now = replace(now, done=(*now.done, name))
        keep(now)
    return now


def _one(now: Migration, name: StepName, hands: Hands, progress: Progress) -> Migration:
    match name:
        case "backup":
            return replace(now, snapshot=hands.backup(progress))
        case "files":
            hands.files(now.snapshot, progress)
        case "deploy":
            hands.deploy(now.snapshot, progress)
        case "servers":
            hands.servers(now.snapshot, progress)
        case "verify":
            _require(hands.verify(now.snapshot, progress), now)
        case "switch":
            hands.switch()
    return now


def _require(findings: tuple[Finding, ...], now: Migration) -> None:
    bad = [one for one in failed(findings) if one.severity == "error"]
    if bad:
        words = "; ".join(f"{one.subject}: {one.message}" for one in bad[:5])
        raise PartFailed(
            f"the form {now.target} of {now.stack} is not as {now.source} was: {words}",
            remedy=f"{now.source} still serves; mend what is named, then migrate again, which goes on from here",
        )


def read(path: Path) -> Migration | None:
    """The migration that a file tells of; None where there is none. An unreadable one is logged, and forgotten: each of
    its steps may be done again."""
    try:
        raw = json.loads(path.read_bytes())
        return Migration(**{**raw, "done": tuple(raw["done"])})
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        log.warning("migration.unreadable", path=str(path), error=str(error))
        return None


def write(path: Path, migration: Migration) -> None:
    """Write it so that it is on disk, whole, when this returns."""
    write_durably(path, json.dumps(asdict(migration), indent=1))
