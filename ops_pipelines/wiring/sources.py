"""Whether the tags of a stack's models have moved at registry and hub.

Asked by the observation, at most once a day, and by `models sources`. What was said is remembered in the home folder,
so that a status and a plan tell it without a network.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from ops_pipelines.adapters.ollama import Ollama
from ops_pipelines.engines._blobs import in_parallel
from ops_pipelines.engines.ports import Progress, silent
from ops_pipelines.policy.cache_diff import served
from ops_pipelines.policy.cache_names import wanted_models
from ops_pipelines.policy.model_sources import Answer, asked_as, moves, notes, settled, still_holds
from ops_pipelines.policy.models import CacheModel, WantedModel
from ops_pipelines.policy.plan import Finding
from ops_pipelines.wiring.connect import now, secret
from ops_pipelines.wiring.data import inventory_of, said_of_sources
from ops_pipelines.wiring.files import write_whole
from ops_pipelines.wiring.site import Site

AtSource = Callable[[WantedModel, CacheModel], Finding]


def asked_of(site: Site) -> dict[str, WantedModel]:
    """By `cache/key`: the models of the stack whose source may move on."""
    return {
        f"{name}/{model.key}": model
        for name, cache in site.stack.caches.items()
        for model in wanted_models(site.stack.models, name, cache.layout)
        if moves(model, cache.layout)
    }


def ask(site: Site, progress: Progress = silent, *, anew: bool = True) -> tuple[Finding, ...]:
    """Whether each model that the stack asks for still is at its source what the first replica holds.

    A source that does not answer is unknown. Unless `anew`, what was answered within a day is not asked again. A model
    that is not in the cache yet is left out: the check of the cache says so."""
    answers, askers = _remembered(site), _askers(site)
    held: dict[str, tuple[WantedModel, CacheModel]] = {}
    wanted = asked_of(site)
    for cache in {key.partition("/")[0] for key in wanted}:
        inventory = inventory_of(site, cache)(0, progress)
        for key, model in wanted.items():
            here = served(model, inventory) if key.partition("/")[0] == cache else None
            if here is not None:
                held[key] = (model, here)

    def look(key: str) -> tuple[str, Answer]:
        model, here = held[key]
        before = answers.get(key)
        if before is not None and not anew and still_holds(before, model, here.revision, now()):
            return key, before
        finding = askers[model.scheme](model, here)
        return key, settled(before, Answer(asked_as(model), here.revision, finding, now()))

    found = dict(in_parallel(look, [key for key in wanted if key in held], workers=4))
    write_whole(
        said_of_sources(site), json.dumps({key: asdict(one) for key, one in found.items()}, default=str)
    )
    return tuple(answer.finding for answer in found.values())


def source_findings(site: Site) -> tuple[Finding, ...]:
    """`ask`, once a day, for the observation."""
    return ask(site, anew=False)


def source_notes(site: Site) -> tuple[str, ...]:
    """What is remembered of it, as lines for a status or a plan. Asks nobody."""
    wanted = asked_of(site)
    return notes(wanted, _remembered(site), now(), site.name) if wanted else ()


def _askers(site: Site) -> Mapping[str, AtSource]:
    from ops_pipelines.adapters.huggingface import HUB, HuggingFace

    settings = site.settings
    if settings.offline:
        return {"hf": _not_asked, "ollama": _not_asked}
    hub = HuggingFace(lambda model: secret(site, model.token), endpoint=settings.hub or HUB)
    return {
        "hf": hub.at_source,
        "ollama": Ollama("http://127.0.0.1", mirror=settings.ollama_mirror).at_source,
    }


def _not_asked(model: WantedModel, _held: CacheModel) -> Finding:
    return Finding(f"model {model.name}", None, "its source is not asked (OPS_OFFLINE)", "", "info")


def _remembered(site: Site) -> dict[str, Answer]:
    """The answers by model; none where they were never asked for, or cannot be read."""
    try:
        raw = json.loads(said_of_sources(site).read_text(encoding="utf-8"))
        return {str(key): _answer(one) for key, one in raw.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _answer(raw: Mapping[str, Any]) -> Answer:
    at = datetime.fromisoformat(raw["at"])
    return Answer(raw["asked"], raw["held"], Finding(**raw["finding"]), at)
