"""Graphics cards: what servers on one card claim of it."""

from __future__ import annotations

from collections.abc import Iterator

from ops_pipelines.policy.lint_compose.rule import ComposeRule, Hit, kind_of, place, words_of
from ops_pipelines.stack.compose_file import ComposeFile, Entry, Position, Scalar, Service, Table, filled

_VARIABLES = ("VLLM_GPU_MEMORY_UTILIZATION", "LLM_GPU_MEMORY_UTILIZATION", "GPU_MEMORY_UTILIZATION")
_ALONE = 0.9  # what vLLM and Aphrodite claim where nothing is said
_EVERY = "all"


def overbooked(file: ComposeFile) -> Iterator[Hit]:
    """Servers on one card whose shares add up to more than the card (0.85 three times is 2.55).

    vLLM and Aphrodite claim 0.9 where nothing is said. Servers of different profiles are not added up. Docker gives
    each service that asks for a count the same first cards.
    """
    claims = [(service, *claim) for service in file.services.values() if (claim := _claim(service))]
    profiles = {None, *(name for service, *_ in claims for name in service.profiles)}
    told: set[str] = set()
    for profile in sorted(profiles, key=str):
        running = [each for each in claims if not each[0].profiles or profile in each[0].profiles]
        for card in sorted({card for _, _, _, cards in running for card in cards}):
            on_it = [each for each in running if card in each[3] or _EVERY in each[3] or card == _EVERY]
            total = sum(share for _, share, _, _ in on_it)
            if len(on_it) < 2 or total <= 1.0 + 1e-9 or (last := on_it[-1])[0].name in told:
                continue
            told.add(last[0].name)
            names = ", ".join(f"{service.name} {share:g}" for service, share, _, _ in on_it)
            yield Hit(
                last[2], f"services.{last[0].name}", f"{total:g} of card {card} ({names})",
                "the last to start runs out of memory",
                "give each a card of its own (device_ids), or shares that add up to at most 0.95",
            )  # fmt: skip


def share_wrong(file: ComposeFile) -> Iterator[Hit]:
    """A share of a card over 1, or of nothing: the server does not start."""
    for service in file.services.values():
        said = _said(service)
        if said is None:
            continue
        share = _number(said)
        if share is not None and not 0 < share <= 1:
            words = ("it does not start", "a share is over 0 and at most 1 (0.9)")
            yield Hit(said.at, f"services.{service.name}", f"{share:g} of a card", *words)


def card_unnamed(file: ComposeFile) -> Iterator[Hit]:
    """Several servers that ask for a count of cards and name none: Docker gives each of them the first ones."""
    asking = [
        (service, at)
        for service in file.services.values()
        if (at := _counted(service)) and kind_of(service) != "exporter"
    ]
    for service, at in asking[1:]:
        yield Hit(
            at, f"services.{service.name}.deploy", f"a count of cards, as {asking[0][0].name} asks for one",
            "both get the same first cards, and the others stay idle",
            "name the card of each: device_ids: [\"0\"], device_ids: [\"1\"]", "warning",
        )  # fmt: skip


def _claim(service: Service) -> tuple[float, Position, frozenset[str]] | None:
    """(share, where it says so, cards) of a server that claims one."""
    said = _said(service)
    share = _number(said) if said is not None else None
    if share is None and kind_of(service) in ("vllm", "aphrodite") and service.command and not _job(service):
        share = _ALONE
    cards = _cards(service)
    if share is None or not cards:
        return None
    return share, said.at if said is not None else place(service, "image"), cards


def _said(service: Service) -> Scalar | None:
    option = service.flag("--gpu-memory-utilization", "--gpu_memory_utilization")
    if option is not None:
        return option
    return next((service.environment[name] for name in _VARIABLES if name in service.environment), None)


def _number(said: Scalar) -> float | None:
    try:
        return float(filled(said.text))
    except ValueError:
        return None


def _job(service: Service) -> bool:
    return service.text("restart") == "no"


def _devices(service: Service) -> Iterator[dict[str, Entry]]:
    for item in (*service.items("deploy", "resources", "reservations", "devices"), *service.items("gpus")):
        if isinstance(item, Table):
            yield item.entries


def _cards(service: Service) -> frozenset[str]:
    """The cards that a server gets, as far as the file tells; none where it gets none."""
    for name in ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"):
        value = service.environment.get(name)
        if value is not None and (words := filled(value.text)) not in ("", "void", "none"):
            return frozenset(word.strip() for word in words.split(","))
    found: set[str] = set()
    for keys in _devices(service):
        ids = words_of(keys["device_ids"].node) if "device_ids" in keys else ()
        count = keys["count"].node if "count" in keys else None
        if ids:
            found |= {filled(word.text) for word in ids}
        elif isinstance(count, Scalar) and filled(count.text).isdecimal():
            found |= {str(number) for number in range(int(filled(count.text)))}
        elif "capabilities" in keys:
            found.add(_EVERY)
    if not found and (service.text("runtime") == "nvidia" or service.text("gpus") == _EVERY):
        found.add(_EVERY)
    return frozenset(found)


def _counted(service: Service) -> Position | None:
    """Where a service asks for a number of cards, without naming them."""
    if "CUDA_VISIBLE_DEVICES" in service.environment:
        return None
    for keys in _devices(service):
        count = keys.get("count")
        if count is not None and "device_ids" not in keys and isinstance(count.node, Scalar):
            return count.at if filled(count.node.text).isdecimal() else None
    return None


RULES = (
    ComposeRule("OPS-C601", "card-overbooked", (13, 30), overbooked),
    ComposeRule("OPS-C602", "share-wrong", (30,), share_wrong),
    ComposeRule("OPS-C603", "card-unnamed", (30,), card_unnamed),
)
