"""Models in and out of memory: asked whether they answer, warmed, loaded, unloaded.

No lease is taken: what a server holds in memory is no state of the stack, and each request to it changes it too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ops_pipelines.adapters.model_server import ModelServer
from ops_pipelines.adapters.ollama import Ollama
from ops_pipelines.engines.ports import Progress, silent
from ops_pipelines.errors import OpsError, Refused, TargetUnsupported, UsageError
from ops_pipelines.policy.order import component_order
from ops_pipelines.policy.plan import Finding
from ops_pipelines.policy.serving import SERVERS, same_name
from ops_pipelines.policy.words import size_in_words
from ops_pipelines.stack.data import Model
from ops_pipelines.wiring.connect import embedder, endpoint, served_name, server_key
from ops_pipelines.wiring.reaching import Place, places_of
from ops_pipelines.wiring.site import Site
from ops_pipelines.wiring.writing import write

_Act = Callable[[Site, str, Place], Finding]
_ASKED = "Say one word."
_UNLOADED = "let go; the next request for it loads it again"


def ready(site: Site, progress: Progress = silent) -> tuple[Finding, ...]:
    """Whether each declared model answers as its `ready` asks, at each replica, base models before adapters."""
    return tuple(_each(site, in_order(site), progress, _answers, respect=True))


def warm(site: Site, model: str | None, progress: Progress = silent) -> tuple[Finding, ...]:
    """Ask models (None: all) for a few words or a vector, base models first, so that they are loaded and have
    worked once. Raises UsageError for an unknown model."""
    return tuple(_each(site, [_known(site, model)] if model else in_order(site), progress, _answers))


def load(
    site: Site, model: str, keep_alive: str | None = None, progress: Progress = silent
) -> tuple[Finding, ...]:
    """Bring a model into the memory of each replica of its server: Ollama loads it, vLLM wakes, or takes an adapter.

    Raises UsageError for an unknown model, or one that no server here holds."""

    def one(site: Site, key: str, place: Place) -> Finding:
        return _load(site, key, place, keep_alive)

    return tuple(_each(site, [_held_here(site, model)], progress, one))


def unload(site: Site, model: str, progress: Progress = silent) -> tuple[Finding, ...]:
    """Let a model go from the memory of each replica: Ollama unloads it, vLLM sleeps, or drops an adapter."""
    return tuple(_each(site, [_held_here(site, model)], progress, _unload))


def in_order(site: Site) -> tuple[str, ...]:
    """The declared models: those of servers that others wait for first, and base models before adapters."""
    rank = {name: number for number, name in enumerate(component_order(site.stack.components))}
    return tuple(
        sorted(
            site.stack.models,
            key=lambda key: (
                site.stack.models[key].role == "adapter",
                rank.get(site.stack.models[key].served_by or "", 0),
            ),
        )
    )


def _each(
    site: Site, models: Sequence[str], progress: Progress, act: _Act, *, respect: bool = False
) -> Iterator[Finding]:
    for number, key in enumerate(models):
        declared = site.stack.models[key]
        progress("models", number, len(models), "models")
        if declared.served_by is None or not _is_on(site, declared.served_by):
            continue
        if respect and declared.ready == "never":
            continue
        for place in _places(site, declared.served_by):
            chosen = _listed if respect and declared.ready == "listed" else act
            yield _tried(site, key, declared, place, chosen)
    progress("models", len(models), len(models), "models")


def _tried(site: Site, key: str, declared: Model, place: Place, act: _Act) -> Finding:
    subject = f"model/{key} at {place.replica}"
    if not place.address:
        return Finding(subject, None, place.note, "ask it from the machine that it runs on", "warning")
    try:
        return act(site, key, place)
    except OpsError as error:
        return Finding(subject, False, error.message, error.remedy, "warning" if declared.hosted else "error")


def _places(site: Site, component: str) -> tuple[Place, ...]:
    """Each replica; where none can be reached by itself, the door that clients use."""
    found = places_of(site, component) if site.stack.components[component].kind in SERVERS else ()
    if any(place.address for place in found):
        return tuple(place for place in found if place.address)
    if (
        site.stack.target.kind == "kubernetes"
    ):  # its ports are the cluster's: on this machine somebody else may answer
        return found or places_of(site, component)
    return (Place(component, component, endpoint(site, component)),)


def _is_on(site: Site, component: str) -> bool:
    """Whether a component is part of what runs in the form that is chosen."""
    declared = site.stack.components[component]
    if declared.replicas == 0:
        return False
    if declared.compose_profile is None or site.stack.target.kind != "compose":
        return True
    from ops_pipelines.wiring.compose_site import ComposeSite

    return declared.compose_profile in ComposeSite(site).profiles


def _answers(site: Site, key: str, place: Place) -> Finding:
    """It answers: with a vector of the declared length, or with words."""
    declared, subject = site.stack.models[key], f"model/{key} at {place.replica}"
    if declared.role != "embedding":
        text = write(site, key, _ASKED, place.address)
        return Finding(subject, True, f"answers ({len(text)} characters)")
    vector = embedder(site, key, place.address).embed(served_name(site, key), [_ASKED])[0]
    if declared.dimension is not None and len(vector) != declared.dimension:
        words = f"answers with {len(vector)} numbers, and {declared.dimension} are declared"
        return Finding(subject, False, words, f"correct models.{key}.dimension, or serve the right model")
    return Finding(subject, True, f"answers (a vector of {len(vector)} numbers)")


def _listed(site: Site, key: str, place: Place) -> Finding:
    """Its server lists it."""
    name, subject = served_name(site, key), f"model/{key} at {place.replica}"
    kind = site.stack.components[place.component].kind
    if kind == "ollama":
        names = [one.name for one in Ollama(place.address).tags()]
    else:
        names = [one.name for one in ModelServer(place.address, server_key(site, place.component)).loaded()]
    if any(same_name(kind, name, one) for one in names):
        return Finding(subject, True, "is listed by its server")
    has = ", ".join(names[:5]) or "nothing"
    return Finding(
        subject, False, f"its server does not list {name}; it lists {has}", "pull it, or correct the name"
    )


def _load(site: Site, key: str, place: Place, keep_alive: str | None) -> Finding:
    declared, name = site.stack.models[key], served_name(site, key)
    subject = f"model/{key} at {place.replica}"
    match site.stack.components[place.component].kind:
        case "ollama":
            server = Ollama(place.address)
            server.load(name, embeds=declared.role == "embedding", keep_alive=keep_alive)
            return _where(subject, next((m for m in server.ps() if same_name("ollama", m.name, name)), None))
        case "vllm" | "aphrodite":
            api = ModelServer(place.address, server_key(site, place.component))
            if declared.role == "adapter":
                api.load_adapter(name, declared.source.split(":", 1)[1].split("@", 1)[0])
                return Finding(subject, True, "the adapter is loaded")
            if api.asleep() is not True:
                return Finding(subject, True, "is loaded already: its server holds it as long as it runs")
            api.wake()
            return Finding(subject, True, "its server is awake")
    raise _unsupported(site, place.component)


def _where(subject: str, held: object) -> Finding:
    size, vram = getattr(held, "size", None), getattr(held, "vram", None)
    if size is None:
        return Finding(subject, None, "was loaded, and its server does not list it", "look at its log")
    words = f"is loaded: {size_in_words(size)}, {size_in_words(vram or 0)} of it on cards"
    if vram and vram < size:
        mend = "unload another model, or give it a larger card"
        return Finding(subject, False, f"{words}; the CPU computes the rest", mend, "warning")
    return Finding(subject, True, words)


def _unload(site: Site, key: str, place: Place) -> Finding:
    declared, name = site.stack.models[key], served_name(site, key)
    subject = f"model/{key} at {place.replica}"
    match site.stack.components[place.component].kind:
        case "ollama":
            Ollama(place.address).unload(name)
            return Finding(subject, True, _UNLOADED)
        case "vllm" | "aphrodite":
            api = ModelServer(place.address, server_key(site, place.component))
            if declared.role == "adapter":
                api.unload_adapter(name)
                return Finding(subject, True, "the adapter is unloaded")
            api.sleep()
            return _slept(subject, api.asleep())
    raise _unsupported(site, place.component)


def _slept(subject: str, asleep: bool | None) -> Finding:
    if asleep is False:
        raise Refused(f"{subject}: its server says that it does not sleep", remedy="look at its log")
    if asleep is None:
        words = "its server took the request, and does not say whether it sleeps"
        return Finding(
            subject, None, words, "look at the memory of its card: ops-pipelines status", "warning"
        )
    words = "its server sleeps: the cards are free, and it answers nobody until `load`"
    return Finding(subject, True, words)


def _unsupported(site: Site, component: str) -> TargetUnsupported:
    kind = site.stack.components[component].kind
    return TargetUnsupported(
        f"{component} ({kind}) holds its models as long as it runs", remedy="scale the component instead"
    )


def _known(site: Site, model: str) -> str:
    if model not in site.stack.models:
        names = ", ".join(site.stack.models) or "none"
        raise UsageError(f"the stack {site.name} declares no model {model!r}", remedy=f"its models: {names}")
    return model


def _held_here(site: Site, model: str) -> str:
    declared = site.stack.models[_known(site, model)]
    server = site.stack.components.get(declared.served_by or "")
    if server is None or server.kind not in SERVERS:
        raise UsageError(
            f"the model {model} of {site.name} is in the memory of no server of its own",
            remedy="set models.NAME.served_by to the component that holds it (ollama, vllm, aphrodite)",
        )
    return model
