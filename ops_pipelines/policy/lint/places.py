"""Rules on where things lie and in what order they start: caches, Compose profiles, slow starts."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ops_pipelines.policy.lint.rule import Found, Rule, started
from ops_pipelines.stack.model import Stack

_GONE = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/var/run")  # noqa: S108 - looked for, not used
_LARGE = 20 * 10**9
_SLOW = 300.0
_ENGINES = ("ollama", "vllm", "aphrodite", "model-server")


def cache_forgotten(stack: Stack) -> Iterator[Found]:
    """A model cache on a place that a restart empties (/tmp, shared memory, an emptyDir's usual paths)."""
    for name, cache in stack.caches.items():
        if any(cache.path == place or cache.path.startswith(f"{place}/") for place in _GONE):
            yield Found(
                f"caches.{name}.path", cache.path, "a restart empties it, and every model is pulled again",
                "put it on a volume", "info" if stack.target.kind == "process" else "error",
            )  # fmt: skip


def cache_elsewhere(stack: Stack) -> Iterator[Found]:
    """A cache that is not where its server looks: hub/hub, HF_HOME taken for the hub, another OLLAMA_MODELS.

    The hub lies in HF_HOME/hub: a volume mounted at /x/hub with HF_HOME=/x/hub gives /x/hub/hub.
    """
    for name, cache in stack.caches.items():
        path, where = cache.path.rstrip("/"), f"caches.{name}.path"
        if re.search(r"/hub/hub$", path) and cache.layout == "huggingface":
            yield Found(
                where, path, "HF_HOME names the hub's parent", "set HF_HOME to the folder above the first hub"
            )
            continue
        for server in dict.fromkeys(
            m.served_by for m in stack.models.values() if m.cache == name and m.served_by
        ):
            component = stack.components.get(server)
            if component is None or component.address is not None:
                continue
            looked = _looks_in(cache.layout, component.environment)
            if looked is not None and "{" not in looked and "{" not in path and looked.rstrip("/") != path:
                yield Found(
                    where, f"{path}, where {server} looks in {looked}", "the server would pull everything again",
                    f"make it {looked}, or change the environment of {server}",
                )  # fmt: skip


def _looks_in(layout: str, environment: dict[str, str]) -> str | None:
    if layout == "ollama":
        return environment.get("OLLAMA_MODELS")
    if layout != "huggingface":
        return None
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if environment.get(variable):
            return environment[variable]
    home = environment.get("HF_HOME")
    return f"{home.rstrip('/')}/hub" if home else None


def depends_on_optional(stack: Stack) -> Iterator[Found]:
    """A component that is always on and waits for one that a Compose profile switches on: Compose refuses it."""
    if stack.target.kind != "compose":
        return
    for name, component in started(stack).items():
        for index, other in enumerate(component.depends_on):
            profile = stack.components[other].compose_profile if other in stack.components else None
            if profile is not None and component.compose_profile != profile:
                yield Found(
                    f"components.{name}.depends_on.{index}", f"{other}, which only profile `{profile}` switches on",
                    "without that profile Compose refuses the whole project",
                    f"take it out, or give {name} the same compose_profile",
                )  # fmt: skip


def start_too_short(stack: Stack) -> Iterator[Found]:
    """A large model whose server may take a minute to be healthy: it is killed while it loads, again and again."""
    for name, component in started(stack).items():
        if component.kind not in _ENGINES or component.health.path is None:
            continue
        sizes = [one.memory or 0 for one in stack.models.values() if one.served_by == name]
        preloads = component.kind != "ollama"
        if preloads and max(sizes, default=0) >= _LARGE and component.health.within < _SLOW:
            yield Found(
                f"components.{name}.health.within",
                f"{component.health.within:g} s for a model of {max(sizes) / 10**9:g} GB",
                "it is given up while it loads", "allow ten minutes or more", "warning",
            )  # fmt: skip


def langfuse_parts(stack: Stack) -> Iterator[Found]:
    """Langfuse 3 without ClickHouse or an object store: it does not start. Version 2 needs Postgres alone."""
    kinds = {component.kind for component in stack.components.values()}
    for name, component in started(stack).items():
        image, _, tag = (component.image or "").partition(":")
        version = re.match(r"v?(\d+)", tag)
        if component.kind != "langfuse" or not image or (version and int(version[1]) < 3):
            continue
        lacking = [kind for kind in ("clickhouse", "object-store", "redis") if kind not in kinds]
        if lacking:
            yield Found(
                f"components.{name}.image", f"Langfuse {tag or 'latest'} without {' and '.join(lacking)}",
                "it does not start", "declare them, or stay with version 2",
            )  # fmt: skip


RULES = (
    Rule("cache-forgotten", (7,), cache_forgotten),
    Rule("cache-elsewhere", (7,), cache_elsewhere),
    Rule("depends-on-optional", (16,), depends_on_optional),
    Rule("start-too-short", (23,), start_too_short),
    Rule("langfuse-parts", (19,), langfuse_parts),
)
