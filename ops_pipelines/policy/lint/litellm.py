"""Rules on LiteLLM and the engines' own flags: settings that do not exist, and fallbacks that spoil vectors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ops_pipelines.policy.lint.rule import Found, Rule, flag, flag_path, host_of
from ops_pipelines.stack.components import Component
from ops_pipelines.stack.model import Stack

_STRATEGIES = (
    "simple-shuffle", "least-busy", "usage-based-routing", "usage-based-routing-v2", "latency-based-routing",
    "cost-based-routing",
)  # fmt: skip
_FALLBACKS = ("fallbacks", "context_window_fallbacks", "content_policy_fallbacks")
_NUMBERED = re.compile(r"MODEL(_NAME)?_\d+")
# Length of the vectors of well-known models, as their publishers state it.
_DIMENSIONS: Mapping[str, int] = {
    "text-embedding-3-large": 3072, "text-embedding-3-small": 1536, "text-embedding-ada-002": 1536,
    "mxbai-embed-large": 1024, "bge-m3": 1024, "bge-large-en-v1.5": 1024, "snowflake-arctic-embed": 1024,
    "nomic-embed-text": 768, "bge-base-en-v1.5": 768, "all-minilm": 384, "all-minilm-l6-v2": 384,
    "bge-small-en-v1.5": 384,
}  # fmt: skip


def embedding_fallback(stack: Stack) -> Iterator[Found]:
    """An embedding model that falls back to one of another make: its vectors mean something else.

    With another length the search fails; with the same length it answers, wrongly, and nobody is told. Two
    models under one name of `model_list` are a fallback of each request.
    """
    for name, component in _proxies(stack):
        listed = _model_list(component)
        for path, model, others in _fallbacks(component, f"components.{name}.settings"):
            for other in others:
                yield from _compared(stack, listed, path, model, other)
        for alias in dict.fromkeys(alias for alias, _, _ in listed):
            models = [(model, index) for word, model, index in listed if word == alias]
            for other, index in models[1:]:
                path = f"components.{name}.settings.model_list.{index}"
                yield from _compared(stack, listed, path, models[0][0], other)


def _compared(
    stack: Stack, listed: list[tuple[str, str, int]], path: str, model: str, other: str
) -> Iterator[Found]:
    one, two = _vectors(stack, listed, model), _vectors(stack, listed, other)
    if one is None and two is None:
        return
    if one is not None and two is not None and one[1] == two[1]:
        return  # the same model at two places
    lengths = f"{one[0] if one and one[0] else '?'} and {two[0] if two and two[0] else '?'}"
    yield Found(
        path, f"{model} and {other} for one another (vectors of {lengths})",
        "vectors of two models cannot be searched together",
        "let an embedding model fail, or name the same model at another server",
    )  # fmt: skip


def _vectors(stack: Stack, listed: list[tuple[str, str, int]], name: str) -> tuple[int | None, str] | None:
    """(length of its vectors, what it is) of an embedding model by any of its names; None for other models."""
    behind = next((model for alias, model, _ in listed if alias == name), name)
    for key, model in stack.models.items():
        rest = model.source.partition(":")[2]
        if {name, behind, _bare(behind)} & {key, model.served_as, rest, _bare(rest)}:
            if model.role != "embedding":
                return None
            return model.dimension, _bare(rest)
    bare = _bare(behind)
    return (_DIMENSIONS[bare], bare) if bare in _DIMENSIONS else None


def _bare(name: str) -> str:
    """`openai/text-embedding-3-large` and `mxbai-embed-large:latest` without what stands around the name."""
    return name.rpartition("/")[2].removesuffix(":latest").lower()


def _fallbacks(component: Component, where: str) -> Iterator[tuple[str, str, list[str]]]:
    for section in ("router_settings", "litellm_settings"):
        settings = component.settings.get(section)
        if not isinstance(settings, Mapping):
            continue
        for word in _FALLBACKS:
            for index, each in enumerate(_items(settings.get(word))):
                if isinstance(each, Mapping):
                    for model, others in each.items():
                        path = f"{where}.{section}.{word}.{index}.{model}"
                        yield path, str(model), [str(other) for other in _items(others)]


def _model_list(component: Component) -> list[tuple[str, str, int]]:
    """(name that clients use, model behind it, index) of LiteLLM's `model_list`."""
    found = []
    for index, each in enumerate(_items(component.settings.get("model_list"))):
        params = each.get("litellm_params") if isinstance(each, Mapping) else None
        if isinstance(params, Mapping) and "model" in params:
            found.append((str(each.get("model_name", "")), str(params["model"]), index))
    return found


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def litellm_setting(stack: Stack) -> Iterator[Found]:
    """Settings that LiteLLM does not have: model_selection_rules, MODEL_1, a strategy that is none, two of them."""
    for name, component in _proxies(stack):
        where = f"components.{name}"
        for variable in component.environment:
            if _NUMBERED.fullmatch(variable):
                yield Found(
                    f"{where}.environment.{variable}", f"{variable}, which LiteLLM does not read", "it sets nothing",
                    "list the models under `settings.model_list`",
                )  # fmt: skip
        strategies: dict[str, str] = {}
        for path, key, value in _walk(component.settings, f"{where}.settings"):
            if key == "model_selection_rules":
                remedy = "take it out; LiteLLM routes by `model_list` and `router_settings`"
                yield Found(
                    path, "model_selection_rules, which LiteLLM does not have", "it sets nothing", remedy
                )
            elif key == "routing_strategy" and isinstance(value, str):
                strategies[path] = value
                if value not in _STRATEGIES:
                    remedy = f"use one of {', '.join(_STRATEGIES)}"
                    yield Found(path, f"the strategy `{value}`", "LiteLLM does not start with it", remedy)
        if len(set(strategies.values())) > 1:
            path = list(strategies)[-1]
            yield Found(
                path, f"two strategies ({', '.join(strategies.values())})", "which of them holds is chance",
                "leave one, under `router_settings`",
            )  # fmt: skip


def api_base_unknown(stack: Stack) -> Iterator[Found]:
    """A server that LiteLLM is sent to and that the stack does not have, such as a third Ollama of two."""
    for name, component in _proxies(stack):
        for path, key, value in _walk(component.settings, f"components.{name}.settings"):
            host = host_of(value) if key in ("api_base", "base_url") and isinstance(value, str) else ""
            if not host or "." in host or host == "localhost" or _is_here(stack, host):
                continue
            breaks = "requests for it wait until they time out"
            remedy = f"name one of {', '.join(stack.components)}"
            yield Found(path, f"the host `{host}`, which no component is", breaks, remedy, "warning")


def _is_here(stack: Stack, host: str) -> bool:
    """Whether a host is a component, or replica N of one (`ollama-2`, `ollama_2`)."""
    if host in stack.components:
        return True
    match = re.fullmatch(r"(.+)[-_](\d+)", host)
    base = match[1] if match else ""
    replicas = stack.components[base].replicas if base in stack.components else 0
    return match is not None and int(match[2]) <= replicas


def aphrodite_keys(stack: Stack) -> Iterator[Found]:
    """`--api-keys`, which Aphrodite does not have: it does not start, or starts without any key."""
    for name, component in stack.components.items():
        if component.kind in ("aphrodite", "vllm") and flag(component, "--api-keys") is not None:
            variable = "APHRODITE_API_KEY" if component.kind == "aphrodite" else "VLLM_API_KEY"
            yield Found(
                flag_path(name, component, "--api-keys"), "--api-keys, which is no option of it", "it does not start",
                f"give it a secret as {variable} (one key, the option is --api-key)",
            )  # fmt: skip


def _walk(value: Any, path: str) -> Iterator[tuple[str, str, Any]]:
    """(dotted path, key, value) of every entry of a tree of settings."""
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield f"{path}.{key}", str(key), below
            yield from _walk(below, f"{path}.{key}")
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from _walk(below, f"{path}.{index}")


def _proxies(stack: Stack) -> Iterator[tuple[str, Component]]:
    for name, component in stack.components.items():
        if component.kind == "litellm" or "litellm" in (component.image or ""):
            yield name, component


RULES = (
    Rule("embedding-fallback", (25,), embedding_fallback),
    Rule("litellm-setting", (18, 22), litellm_setting),
    Rule("api-base-unknown", (22,), api_base_unknown),
    Rule("aphrodite-keys", (21,), aphrodite_keys),
)
