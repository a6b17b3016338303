"""Model caches of one stack: what is wanted, what is there, and bringing the one to the other.

The collections, in the module beside, are handed on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ops_pipelines.adapters import cachefiles
from ops_pipelines.adapters.bundled import Bundled
from ops_pipelines.adapters.cachefiles import scan
from ops_pipelines.adapters.ollama import Ollama
from ops_pipelines.engines import cache as cache_engine
from ops_pipelines.engines.ports import Fence, ModelSource, Progress, TakeInventory, silent
from ops_pipelines.errors import CacheDamaged, Refused, Unreachable
from ops_pipelines.policy import cache_diff
from ops_pipelines.policy.cache_names import wanted_models
from ops_pipelines.policy.models import Inventory, WantedModel, inventory_from_json
from ops_pipelines.policy.plan import Finding, Plan, failed
from ops_pipelines.wiring import beside, one_offs
from ops_pipelines.wiring.collections import (
    CollectionsReport,
    bring_collections,
    collection_findings,
    dimension_findings,
    plan_collections,
    schema_of,
)
from ops_pipelines.wiring.connect import caches, endpoint, lease, secret
from ops_pipelines.wiring.serving import serving
from ops_pipelines.wiring.site import Site

_FROM_BUCKET = (
    "restore it from a snapshot (`restore --model`), import it (`models import`), or unset OPS_OFFLINE"
)

__all__ = [
    "CollectionsReport", "bring_collections", "cache_digest", "collection_findings", "dimension_findings", "fill",
    "inventories", "inventory_of", "model_findings", "plan_collections", "plan_fill", "probe_models", "remember",
    "said_of_sources", "schema_of", "wanted_of",
]  # fmt: skip


def inventory_of(
    site: Site, cache: str, *, reread: bool = False, reread_days: int = 0, defer: bool = False
) -> TakeInventory:
    """Takes the inventory of one replica of a cache, reading only files that changed, and tonight's share of those
    that did not where it is to be all of them in `reread_days`; with `defer`, see `remember`."""
    declared = site.stack.caches[cache]
    if beside.by_container(site):
        return _elsewhere(site, cache)
    folders = caches(site)[cache]

    def take(replica: int, progress: Progress) -> Inventory:
        index = _index(site, cache, replica)
        return scan(
            folders[replica],
            declared.layout,
            cache=cache,
            replica=replica,
            index=index,
            reread=reread,
            reread_days=reread_days,
            defer=defer,
            progress=progress,
        )

    return take


def _elsewhere(site: Site, cache: str) -> TakeInventory:
    """The same, by a container beside the cache; it keeps the memory of what it read in a volume of its own."""

    def take(replica: int, progress: Progress) -> Inventory:
        raw = one_offs.asking(site, "model_cache", cache)("inventory", {"replica": replica}, progress)
        root = beside.room_of(site, "model_cache", cache).sides[replica].folder
        return replace(inventory_from_json(raw), root=root)

    return take


def fetch_one(site: Site, cache: str, model: str, replica: int, progress: Progress) -> str:
    """Bring one model into one replica of a cache in a folder here, and return its revision."""
    [wanted] = [one for one in wanted_of(site, cache) if one.name == model]
    with _sources(site, cache, needed=True) as sources:
        source = sources.get(wanted.scheme)
        if source is None:
            raise Refused(
                f"nothing here can pull from {wanted.scheme}:", remedy="pull it where its server runs"
            )
        return source.fetch(wanted, caches(site)[cache][replica], site.stack.caches[cache].layout, progress)


def remember(site: Site) -> Callable[[Inventory], None]:
    """Notes that the deferred files of an inventory were stored and compared."""
    return lambda taken: cachefiles.remember(_index(site, taken.cache, taken.replica), taken)


def _index(site: Site, cache: str, replica: int) -> Path:
    return site.state / "inventory" / f"{cache}.{replica}.json"


def inventories(site: Site, progress: Progress = silent) -> tuple[Inventory, ...]:
    """Every replica of every cache."""
    return tuple(
        take(replica, progress)
        for name, cache in site.stack.caches.items()
        for take in (inventory_of(site, name),)
        for replica in range(cache.replicas)
    )


def wanted_of(site: Site, cache: str) -> tuple[WantedModel, ...]:
    """The models that the stack asks of a cache."""
    return wanted_models(site.stack.models, cache, site.stack.caches[cache].layout)


def model_findings(site: Site) -> tuple[Finding, ...]:
    """Wanted against present in every replica, content against its digest, replicas against each other."""
    found: list[Finding] = []
    for name, cache in site.stack.caches.items():
        take = inventory_of(site, name)
        taken = [take(replica, silent) for replica in range(cache.replicas)]
        for inventory in taken:
            lines = cache_diff.differences(wanted_of(site, name), inventory)
            found += [*cache_diff.findings(inventory, lines), *cache_diff.verify(inventory)]
        if len(taken) > 1:
            found += cache_diff.divergence(taken)
    return tuple(found)


def plan_fill(site: Site) -> Plan:
    """Which models would be pulled; none into volumes of a cluster, whose servers pull them."""
    if site.stack.target.kind == "kubernetes":
        return Plan(f"Fill the model caches of {site.name}", ())
    steps = [
        step
        for name, cache in site.stack.caches.items()
        for take in (inventory_of(site, name),)
        for replica in range(cache.replicas)
        for step in cache_engine.plan_fill(wanted_of(site, name), take(replica, silent))
    ]
    return Plan(f"Fill the model caches of {site.name}", tuple(steps))


def fill(site: Site, progress: Progress = silent) -> tuple[Inventory, ...]:
    """Pull what is missing into every replica, under the stack's lease; where nothing is, none is taken.

    Raises CacheDamaged where a wanted model is still not there, LeaseHeld, LeaseLost.
    """
    if plan_fill(site).empty:
        return _fill(site, None, progress)
    with lease(site, "fill the model caches") as fence:
        beside.make_places(site)
        said_of_sources(site).unlink(missing_ok=True)  # it was said of what was here before
        return _fill(site, fence, progress)


def said_of_sources(site: Site) -> Path:
    """Where it is remembered whether registry and hub still have what the caches hold."""
    return site.state / "sources.json"


def _fill(site: Site, fence: Fence | None, progress: Progress) -> tuple[Inventory, ...]:
    filled: list[Inventory] = []
    bad: list[Finding] = []
    if site.stack.target.kind == "kubernetes":
        return ()
    for name, cache in site.stack.caches.items():
        wanted, take = wanted_of(site, name), inventory_of(site, name)
        for replica in range(cache.replicas):
            pulls = any(
                step.verb == "fetch" for step in cache_engine.plan_fill(wanted, take(replica, progress))
            )
            with _sources(site, name, needed=pulls and fence is not None) as known:
                sources = _beside(site, name, replica, known)
                held = {word: _Fenced(source, fence) for word, source in sources.items()} if fence else {}
                result = cache_engine.fill(wanted, take, held, replica=replica, progress=progress)
            filled.append(result.inventory)
            bad += [one for one in failed(result.findings) if one.severity == "error"]
    if bad:
        raise CacheDamaged(
            "; ".join(finding.message for finding in bad),
            remedy=" ".join(dict.fromkeys(finding.remedy for finding in bad if finding.remedy)),
        )
    return tuple(filled)


def _beside(
    site: Site, cache: str, replica: int, sources: Mapping[str, ModelSource]
) -> Mapping[str, ModelSource]:
    """The same sources; for a folder that is not here, and that no server fills, by a container beside it."""
    if site.stack.caches[cache].layout == "ollama" or not beside.by_container(site):
        return sources
    return {word: _Beside(source, site, cache, replica) for word, source in sources.items()}


@dataclass(frozen=True)
class _Beside:
    """A source that is asked from here, and brings a model by a container."""

    inner: ModelSource
    site: Site
    cache: str
    replica: int

    def fetch(self, model: WantedModel, root: Path, layout: str, progress: Progress) -> str:
        """As the source does, in the container."""
        del root, layout
        ask = one_offs.asking(self.site, "model_cache", self.cache)
        return str(ask("fetch", {"model": model.name, "replica": self.replica}, progress))

    def probe(self, model: WantedModel) -> Finding:
        """As the source does."""
        return self.inner.probe(model)


@dataclass(frozen=True)
class _Fenced:
    """A source that brings a model only as long as the lease is held."""

    inner: ModelSource
    fence: Fence

    def fetch(self, model: WantedModel, root: Path, layout: str, progress: Progress) -> str:
        """As the source does."""
        self.fence.check()
        return self.inner.fetch(model, root, layout, progress)

    def probe(self, model: WantedModel) -> Finding:
        """As the source does."""
        return self.inner.probe(model)


def probe_models(site: Site) -> tuple[Finding, ...]:
    """Whether each model that is missing could be pulled, asked of where it is to come from."""
    found: list[Finding] = []
    for name in site.stack.caches:
        missing = [
            line.wanted
            for line in cache_diff.differences(wanted_of(site, name), inventory_of(site, name)(0, silent))
            if line.wanted is not None and line.state in ("missing", "partial")
        ]
        if missing:
            with _sources(site, name, needed=False) as sources:
                registry = Ollama("http://127.0.0.1", mirror=site.settings.ollama_mirror)
                asked = {"ollama": registry, **sources}  # a probe asks its registry alone
                found += cache_engine.probe([one for one in missing if one.scheme in asked], asked)
    return tuple(dict.fromkeys(found))  # caches may want the same model


@dataclass(frozen=True)
class Offline:
    """In place of a source that is not to be asked (OPS_OFFLINE)."""

    def fetch(self, model: WantedModel, root: Path, layout: str, progress: Progress) -> str:  # noqa: ARG002
        """Raises Refused."""
        raise Refused(
            f"model {model.name} is not in its cache, and nothing is pulled offline (OPS_OFFLINE)",
            remedy=_FROM_BUCKET,
        )

    def probe(self, model: WantedModel) -> Finding:
        """Not known."""
        return Finding(
            f"model {model.name}", None, "its source is not asked (OPS_OFFLINE)", _FROM_BUCKET, "warning"
        )


@contextmanager
def _sources(site: Site, cache: str, *, needed: bool) -> Iterator[Mapping[str, ModelSource]]:
    """Where models come from. An Ollama store is filled by its server: started for a while where it rests."""

    settings = site.settings
    sources = _outside(site)
    server = _ollama_of(site, cache)
    if site.stack.caches[cache].layout != "ollama" or server is None or not needed:
        yield sources
        return
    with _ollama_address(site, server) as address:
        ollama = Ollama(address, mirror=settings.ollama_mirror)
        found: dict[str, ModelSource] = {**sources, "package": Bundled(ollama)}
        yield found if settings.offline else {**found, "ollama": ollama}


def _outside(site: Site) -> dict[str, ModelSource]:
    """Hub and packages; offline, nobody outside this machine."""
    if site.settings.offline:
        return {"hf": Offline(), "ollama": Offline(), "package": Bundled()}
    from ops_pipelines.adapters.huggingface import HUB, HuggingFace

    hub = HuggingFace(lambda model: secret(site, model.token), endpoint=site.settings.hub or HUB)
    return {"hf": hub, "package": Bundled()}


def _ollama_of(site: Site, cache: str) -> str | None:
    return next(
        (
            model.served_by
            for model in site.stack.models.values()
            if model.cache == cache
            and model.served_by is not None
            and site.stack.components[model.served_by].kind == "ollama"
        ),
        None,
    )


@contextmanager
def _ollama_address(site: Site, component: str) -> Iterator[str]:
    address = endpoint(site, component)
    try:
        Ollama(address).version()
    except Unreachable:  # one that answers with an error lives, and has the store for itself
        with serving(site, [component], {}, word="fill") as addresses:
            yield addresses[component]
        return
    yield address


def cache_digest(taken: Sequence[Inventory]) -> str:
    """Changes exactly when a model file does."""
    lines = sorted(f"{one.cache}/{file.path} {file.sha256}" for one in taken for file in one.files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
