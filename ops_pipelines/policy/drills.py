"""What a drill concludes: its verdict, which snapshot it takes, whether there is room, which objectives it missed.

A drill that could not load a model has a verdict of its own: the files were proven, that they answer was not.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ops_pipelines.policy.machine import Card
from ops_pipelines.policy.plan import Finding
from ops_pipelines.policy.retention import SnapshotFacts
from ops_pipelines.policy.words import size_in_words, time_in_words

Verdict = Literal["passed", "failed", "unknown", "not generated: no card"]
NOT_GENERATED: Verdict = "not generated: no card"
Pick = Literal["newest", "random"]


class Objectives(Protocol):
    """What a declaration asks of a drill (stack.operations.Objectives). Seconds; None asks nothing."""

    @property
    def rto(self) -> float | None: ...
    @property
    def rpo(self) -> float | None: ...


class CardNeeds(Protocol):
    """What a component takes of graphics cards (stack.components.Resources). Sizes are bytes."""

    @property
    def gpus(self) -> int: ...
    @property
    def gpu(self) -> int | None: ...
    @property
    def gpu_memory(self) -> int | None: ...
    @property
    def gpu_utilization(self) -> float | None: ...


@dataclass(frozen=True)
class Measured:
    """What a drill measured. Seconds; None where it is not known."""

    taken: float
    """From the first byte fetched to the last answer, of whatever was restored."""
    whole: bool
    """True where every part was restored, so that `taken` is the time of a restore."""
    age: float | None
    """Since the newest snapshot was committed: what would have been lost."""

    @property
    def rto(self) -> float | None:
        """Seconds that a restore takes; None where not all of it was restored."""
        return self.taken if self.whole else None


def verdict(findings: Sequence[Finding], unloaded: Collection[str] = ()) -> Verdict:
    """Failed where anything is bad, unknown where anything could not be tried, else passed.

    `unloaded` are subjects of findings that are unknown for want of a card alone: with nothing worse, the verdict
    says so."""
    errors = [finding for finding in findings if finding.severity == "error"]
    if any(finding.ok is False for finding in errors):
        return "failed"
    unknown = [finding for finding in errors if finding.ok is None]
    if any(finding.subject not in unloaded for finding in unknown) or not errors:
        return "unknown"
    return NOT_GENERATED if unknown else "passed"


def choose(snapshots: Sequence[SnapshotFacts], pick: Pick, share: float, draw: float) -> str | None:
    """Id of the snapshot to drill; None where there is none.

    `newest` takes the newest that is complete. `random` takes, with the probability `share`, one of the older good
    ones. `draw` is uniform in [0, 1) and decides both; older ones have equal chances.
    """
    newest_first = sorted(
        (one for one in snapshots if one.state == "complete"), key=lambda one: one.id, reverse=True
    )
    if not newest_first:
        return None
    older = [one for one in newest_first[1:] if not one.bad]
    if pick == "newest" or not older or draw >= share:
        return newest_first[0].id
    return older[int(draw / share * len(older))].id


def room(needed: int, free: int | None, limit: int | None) -> Finding:
    """Whether the throw-away places hold `needed` bytes: within the declared `limit`, and on the disk."""
    words = f"{size_in_words(needed)} needed"
    if limit is not None and needed > limit:
        return Finding(
            "drill/room", None, f"{words}, {size_in_words(limit)} allowed: nothing was restored",
            "raise `drill.space`, or drill where there is room",
        )  # fmt: skip
    if free is None:
        return Finding(
            "drill/room", None, f"{words}, and what is free cannot be read: nothing was restored",
            "look at the mount of `drill.folder`",
        )  # fmt: skip
    if needed > free:
        return Finding(
            "drill/room", None, f"{words}, {size_in_words(free)} free: nothing was restored",
            "free some space, or set `drill.folder` to a disk that has it",
        )  # fmt: skip
    return Finding("drill/room", True, f"{words}, {size_in_words(free)} free")


def objective_findings(measured: Measured, wanted: Objectives) -> tuple[Finding, ...]:
    """One finding for each declared objective. One that could not be measured is not met."""
    found: list[Finding] = []
    if wanted.rto is not None:
        # What is over the time with a part alone is over it with all of them.
        seconds = measured.taken if measured.taken > wanted.rto else measured.rto
        found.append(
            _objective(
                "rto", "to restore", seconds, wanted.rto,
                "restore from a nearer or faster store, or declare a time that holds",
            )
        )  # fmt: skip
    if wanted.rpo is not None:
        found.append(
            _objective(
                "rpo", "since the newest snapshot", measured.age, wanted.rpo,
                "look why the last backup was not taken, or take backups more often",
            )
        )  # fmt: skip
    return tuple(found)


def _objective(word: str, what: str, seconds: float | None, wanted: float, remedy: str) -> Finding:
    subject, limit = f"objective/{word}", f"at most {time_in_words(wanted)} is wanted"
    if seconds is None:
        return Finding(subject, None, f"could not be measured ({limit})", remedy)
    good = seconds <= wanted
    return Finding(
        subject, good, f"{time_in_words(seconds)} {what} ({limit})", "" if good else f"missed: {remedy}"
    )


def without_card(needs: Mapping[str, CardNeeds], cards: Sequence[Card] | str) -> dict[str, str]:
    """Components for which no card is free, with the reason. Those before them in `needs` have taken theirs."""
    free = {} if isinstance(cards, str) else {card.index: card.free or 0 for card in cards}  # unknown: none
    total = {} if isinstance(cards, str) else {card.index: card.memory for card in cards}
    refused: dict[str, str] = {}
    for name, need in needs.items():
        if not _needs_card(need):
            continue
        if isinstance(cards, str):
            refused[name] = f"no card: {cards}"
            continue
        wanted = {index: _memory(need, total[index]) for index in free}
        places = [
            index
            for index in sorted(free, key=lambda one: -free[one])
            if need.gpu in (None, index) and wanted[index] <= free[index]
        ]
        count = max(1, need.gpus)
        if len(places) < count:
            refused[name] = f"no card: {count} needed, {len(places)} of {len(free)} have room"
            continue
        for index in places[:count]:
            free[index] -= wanted[index]
    return refused


def _needs_card(need: CardNeeds) -> bool:
    return bool(need.gpus or need.gpu_memory or need.gpu_utilization) or need.gpu is not None


def _memory(need: CardNeeds, total: int) -> int:
    """Bytes of one card; where nothing is declared, a card must be all but empty."""
    if need.gpu_memory is not None:
        return need.gpu_memory
    return int(total * (need.gpu_utilization or 0.9))
