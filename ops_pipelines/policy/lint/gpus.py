"""Rules on graphics cards: what is placed on one must fit on it, at the largest number of replicas too."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ops_pipelines.policy.lint.rule import Found, Rule, Severity, flag, started
from ops_pipelines.stack.components import Component
from ops_pipelines.stack.model import Stack

_GB = 10**9
_UTILIZATION = ("--gpu-memory-utilization", "-gmu")


@dataclass(frozen=True)
class Claim:
    """What one component asks of one card, with all its replicas."""

    component: str
    replicas: int
    share: float | None
    """Share of the card's memory for each replica."""
    memory: int | None
    """Bytes for each replica."""


def card_overbooked(stack: Stack) -> Iterator[Found]:
    """Servers on one card whose shares add up to more than the card: the last to start runs out of memory.

    vLLM and Aphrodite claim their share at start, whatever the others have: 0.85 three times is 2.55 cards. Where
    `cards` says how large each card is, memory in bytes is added up too.
    """
    full = set()
    for card, claims in placed(stack, _declared(stack)).items():
        if card < len(stack.cards) and _bytes(claims) > stack.cards[card]:
            yield Found(
                f"components.{claims[-1].component}.resources.gpu_memory",
                f"{_words(claims)} make {_bytes(claims) / _GB:g} GB of card {card}, which has "
                f"{stack.cards[card] / _GB:g}",
                "the last to load drives another one out, or fails",
                "ask for less, take a replica away or name another card", "error",
            )  # fmt: skip
    for card, claims in placed(stack, _declared(stack)).items():
        total = _sum(claims)
        if total > 1.0001:
            full.add(card)
            yield _too_much(card, claims, f"{_words(claims)} make {total:.2f} of card {card}", "error")
    for card, claims in placed(stack, _largest(stack)).items():
        total = _sum(claims)
        if total > 1.0001 and card not in full:
            found = f"{_words(claims)} make {total:.2f} of card {card} once scaling has added replicas"
            yield _too_much(card, claims, found, "error")


def _too_much(card: int, claims: list[Claim], found: str, severity: Severity) -> Found:
    last = claims[-1].component
    remedy = f"lower the shares so that all on card {card} make 0.95 at most, or name another card"
    path = f"components.{last}.resources.gpu_utilization"
    return Found(path, found, "the last to start runs out of memory", remedy, severity)


def card_outgrown(stack: Stack) -> Iterator[Found]:
    """Scaling that asks a card for more memory than the declared replicas take: nothing says that it is there.

    Five chatbots of 4 GB beside a base of 8 GB are 28 GB, and the card of the guide has 20.
    """
    before, after = placed(stack, _declared(stack)), placed(stack, _largest(stack))
    for card, claims in after.items():
        now, then = _bytes(before.get(card, [])), _bytes(claims)
        size = stack.cards[card] if card < len(stack.cards) else _size_of(before.get(card, []))
        if then <= now or (size is not None and then <= size):
            continue
        grown = next(rule for rule in stack.scaling if stack.scaling[rule].component in _names(claims))
        yield Found(
            f"scaling.{grown}.maximum",
            f"{_words(claims)} make {then / _GB:g} GB of card {card}, where the declared replicas take {now / _GB:g}",
            "a replica that does not fit fails while it loads, or drives another one out",
            "lower the maximum to what the card holds, or place the component on another card", "warning",
        )  # fmt: skip


def card_unnamed(stack: Stack) -> Iterator[Found]:
    """Several servers that claim a share and name no card: Docker gives each of them the first ones."""
    if stack.target.kind != "compose":
        return
    claims = {
        name: each for name, each in started(stack).items() if share_of(each) and each.resources.gpu is None
    }
    claims = {name: each for name, each in claims.items() if each.replicas}
    if len(claims) < 2 and sum(each.replicas for each in claims.values()) < 2:
        return
    total = sum((share_of(each) or 0) * each.replicas for each in claims.values())
    if total <= 1.0001:
        return
    yield Found(
        f"components.{list(claims)[-1]}.resources",
        f"{', '.join(claims)} claim shares and name no card",
        f"Docker gives each of them card 0, where they make {total:.2f}",
        "name the card of each in `resources.gpu` (the first one, where it takes several)",
        "warning",
    )  # fmt: skip


def card_exclusive(stack: Stack) -> Iterator[Found]:
    """Components that share a card in a cluster: `nvidia.com/gpu: 1` is a whole card unless it is sliced."""
    if stack.target.kind != "kubernetes":
        return
    for card, claims in placed(stack, _declared(stack)).items():
        if sum(claim.replicas for claim in claims) < 2:
            continue
        whole = [claim.component for claim in claims if stack.components[claim.component].resources.gpus]
        if whole:
            yield Found(
                f"components.{whole[-1]}.resources.gpus", f"a whole card, and {_words(claims)} on card {card}",
                "the second one would wait for a card for ever",
                "leave `gpus` out and share the card by time slicing or MPS, or place it elsewhere",
            )  # fmt: skip
        else:
            yield Found(
                f"components.{claims[-1].component}.resources.gpu", f"{_words(claims)} share card {card}",
                "a cluster gives a card to one pod alone",
                "switch time slicing or MPS on for that node (the NVIDIA device plugin's configuration)", "info",
            )  # fmt: skip


def flags_differ(stack: Stack) -> Iterator[Found]:
    """A command that says another thing than `resources`: placement then reckons with numbers nobody uses."""
    for name, component in started(stack).items():
        said, resources = _number(flag(component, *_UTILIZATION)), component.resources
        where = f"components.{name}.resources"
        if said is not None and resources.gpu_utilization is not None and said != resources.gpu_utilization:
            yield Found(
                f"{where}.gpu_utilization",
                f"{resources.gpu_utilization:g}, where the command says {said:g}",
                "the server claims what its command says", "write the same number in both",
            )  # fmt: skip
        parallel = _number(flag(component, "--tensor-parallel-size", "-tp"))
        # With Ray the stages of a pipeline are on other nodes.
        ray = flag(component, "--distributed-executor-backend") == "ray"
        stages = 1 if ray else _number(flag(component, "--pipeline-parallel-size", "-pp")) or 1
        if parallel is not None and resources.gpus and parallel * stages != resources.gpus:
            yield Found(
                f"{where}.gpus", f"{resources.gpus} cards, where the command shards over {parallel * stages:g}",
                "it does not start, or leaves cards idle", "make `gpus` the product of the parallel sizes",
            )  # fmt: skip


def placed(stack: Stack, replicas: Mapping[str, int]) -> dict[int, list[Claim]]:
    """What is asked of each card that is named, with so many replicas of each component."""
    cards: dict[int, list[Claim]] = defaultdict(list)
    for name, component in started(stack).items():
        need = component.resources
        if need.gpu is None or not replicas[name]:
            continue
        claim = Claim(name, replicas[name], share_of(component), need.gpu_memory)
        for card in range(need.gpu, need.gpu + max(1, need.gpus)):
            cards[card].append(claim)
    return dict(cards)


def share_of(component: Component) -> float | None:
    """Share of a card that one replica claims, by `resources` or by its command."""
    return component.resources.gpu_utilization or _number(flag(component, *_UTILIZATION))


def _declared(stack: Stack) -> dict[str, int]:
    return {name: each.replicas for name, each in stack.components.items()}


def _largest(stack: Stack) -> dict[str, int]:
    most = {rule.component: rule.maximum for rule in stack.scaling.values()}
    return {name: max(each.replicas, most.get(name, 0)) for name, each in stack.components.items()}


def _sum(claims: list[Claim]) -> float:
    return sum((claim.share or 0) * claim.replicas for claim in claims)


def _bytes(claims: list[Claim]) -> int:
    return sum((claim.memory or 0) * claim.replicas for claim in claims)


def _size_of(claims: list[Claim]) -> int | None:
    """Bytes of the card, where a component says both its share of it and what that is."""
    sizes = [claim.memory / claim.share for claim in claims if claim.memory and claim.share]
    return int(max(sizes)) if sizes else None


def _names(claims: list[Claim]) -> list[str]:
    return [claim.component for claim in claims]


def _words(claims: list[Claim]) -> str:
    return ", ".join(
        claim.component if claim.replicas == 1 else f"{claim.replicas} x {claim.component}"
        for claim in claims
    )


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


RULES = (
    Rule("card-overbooked", (13, 30), card_overbooked),
    Rule("card-outgrown", (13,), card_outgrown),
    Rule("card-unnamed", (30,), card_unnamed),
    Rule("card-exclusive", (13,), card_exclusive),
    Rule("flags-differ", (30,), flags_differ),
)
