"""What the model servers of a stack hold now, and the memory of the cards that they work on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from ops_pipelines.adapters.hardware import find_hardware
from ops_pipelines.adapters.model_server import ModelServer
from ops_pipelines.adapters.ollama import Ollama
from ops_pipelines.errors import OpsError
from ops_pipelines.policy.card_readings import NVIDIA, ROCM, nvidia_cards, rocm_cards
from ops_pipelines.policy.machine import Card
from ops_pipelines.policy.serving import SERVERS, CardsSeen, LoadedModel, ServerModels
from ops_pipelines.stack.components import Component
from ops_pipelines.wiring.artifacts import supported
from ops_pipelines.wiring.connect import server_key
from ops_pipelines.wiring.reaching import Place, is_local, places_of
from ops_pipelines.wiring.site import Site

_TIMEOUT = 5.0
_TOOLS: Sequence[tuple[Sequence[str], Callable[[str], tuple[Card, ...]]]] = (
    (NVIDIA, nvidia_cards),
    (ROCM, rocm_cards),
)


def servers(site: Site) -> tuple[str, ...]:
    """Components of the stack that hold models in memory."""
    return tuple(name for name, one in site.stack.components.items() if one.kind in SERVERS)


def loaded(site: Site, components: Sequence[str] | None = None) -> tuple[ServerModels, ...]:
    """What each replica of the model servers holds. Nothing is raised: who does not answer is unknown."""
    if not supported(site):
        return ()
    names = servers(site) if components is None else tuple(components)
    places = [place for name in names for place in places_of(site, name)]
    if not places:
        return ()
    with ThreadPoolExecutor(min(16, len(places))) as pool:
        return tuple(pool.map(lambda place: _ask(site, place), places))


def _ask(site: Site, place: Place) -> ServerModels:
    if not place.address:
        return ServerModels(place.component, place.replica, "", None, place.note)
    try:
        models, share = _held(site, place)
    except OpsError as error:
        return ServerModels(place.component, place.replica, place.address, None, error.message)
    return ServerModels(place.component, place.replica, place.address, models, place.note, share)


def _held(site: Site, place: Place) -> tuple[tuple[LoadedModel, ...], float | None]:
    if site.stack.components[place.component].kind == "ollama":
        held = Ollama(place.address, timeout=_TIMEOUT).ps()
        return tuple(LoadedModel(one.name, one.size, one.vram, until=one.until) for one in held), None
    server = ModelServer(place.address, server_key(site, place.component), timeout=_TIMEOUT)
    return server.loaded(), server.share()


def cards(site: Site) -> CardsSeen:
    """Memory of the cards of the machine that the stack runs on; asked in a container where that is another one."""
    if not supported(site):
        return CardsSeen(None, f"target {site.stack.target.kind} is not asked")
    try:
        if is_local(site):
            found = find_hardware(site.settings.environ.get("PATH", ""))
            if found.cards:
                return CardsSeen(found.cards)
            asked = _in_containers(site)
            return asked or CardsSeen((), found.note or "this machine has no card with memory of its own")
        return _in_containers(site) or CardsSeen(None, "no container that was given a card could be asked")
    except OpsError as error:
        return CardsSeen(None, error.message)


def _in_containers(site: Site) -> CardsSeen | None:
    """What a tool inside a container that has cards says of them; None where there is none to ask."""
    if site.stack.target.kind != "compose":
        return None
    from ops_pipelines.wiring.compose_site import ComposeSite

    here = ComposeSite(site)
    note = ""
    for one in here.docker.reach(here.target.project):
        declared = site.stack.components.get(one.service)
        if declared is None or not asks_for_cards(declared):
            continue
        for command, read in _TOOLS:
            try:
                status, said = here.docker.ask(one.container, command)
                if status == 0 and (found := read(said)):
                    return CardsSeen(found)
            except (OpsError, ValueError) as error:
                said = str(error)
            note = note or f"{one.container}: {' '.join(said.split())[:200]}"
    return CardsSeen(None, note) if note else None


def asks_for_cards(component: Component) -> bool:
    """Whether a component's declaration asks for a card."""
    asked = component.resources
    return bool(asked.gpus or asked.gpu is not None or asked.gpu_memory or asked.gpu_utilization)
