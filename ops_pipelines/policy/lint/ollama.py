"""Rules on Ollama: settings it does not have, and where it is asked for what it does not offer."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from ops_pipelines.policy.lint.rule import Found, Rule
from ops_pipelines.stack.components import Component
from ops_pipelines.stack.model import Stack

# envconfig/config.go of Ollama 0.17, and what its runners read themselves.
KNOWN = frozenset({
    "OLLAMA_AUTH", "OLLAMA_CONTEXT_LENGTH", "OLLAMA_DEBUG", "OLLAMA_EDITOR", "OLLAMA_FLASH_ATTENTION",
    "OLLAMA_GPU_OVERHEAD", "OLLAMA_HOST", "OLLAMA_KEEP_ALIVE", "OLLAMA_KV_CACHE_TYPE", "OLLAMA_LIBRARY_PATH",
    "OLLAMA_LLM_LIBRARY", "OLLAMA_LOAD_TIMEOUT", "OLLAMA_MAX_LOADED_MODELS", "OLLAMA_MAX_QUEUE",
    "OLLAMA_MODELS", "OLLAMA_MULTIUSER_CACHE", "OLLAMA_NEW_ENGINE", "OLLAMA_NOHISTORY", "OLLAMA_NOPRUNE",
    "OLLAMA_NO_CLOUD", "OLLAMA_NUM_PARALLEL", "OLLAMA_ORIGINS", "OLLAMA_REGISTRY_MAXSTREAMS",
    "OLLAMA_REMOTES", "OLLAMA_SCHED_SPREAD", "OLLAMA_VULKAN",
})  # fmt: skip
NEVER = {
    "OLLAMA_NUM_THREAD": "set `num_thread` in the model's parameters (Modelfile or request)",
    "OLLAMA_NUM_GPU": "set `num_gpu` in the model's parameters (Modelfile or request)",
    "OLLAMA_GPU_MEMORY_FRACTION": "reserve memory with OLLAMA_GPU_OVERHEAD, in bytes",
    "OLLAMA_NODE_ID": "take it out: replicas of Ollama know nothing of each other",
}
GONE = {
    "OLLAMA_MAX_VRAM": "reserve memory with OLLAMA_GPU_OVERHEAD, in bytes",
    "OLLAMA_TMPDIR": "take it out: nothing is unpacked any more",
    "OLLAMA_RUNNERS_DIR": "take it out: runners come with the program",
    "OLLAMA_INTEL_GPU": "use OLLAMA_VULKAN=1 for Intel cards",
    "OLLAMA_HOME": "set OLLAMA_MODELS",
}
LIBRARIES = ("cpu", "cuda_", "rocm", "vulkan", "metal", "mlx")
_OFF = ("", "0", "false", "f")


def ollama_setting(stack: Stack) -> Iterator[Found]:
    """An OLLAMA_ variable that Ollama does not read: it sets nothing, and nobody is told."""
    for name, component in _ollamas(stack):
        for variable in component.environment:
            path = f"components.{name}.environment.{variable}"
            if not variable.startswith("OLLAMA_") or variable in KNOWN:
                continue
            if variable in NEVER:
                yield Found(
                    path, f"{variable}, which Ollama does not read", "it sets nothing", NEVER[variable]
                )
            elif variable in GONE:
                found = f"{variable}, which Ollama no longer reads"
                yield Found(path, found, "it sets nothing", GONE[variable], "warning")
            else:
                near = difflib.get_close_matches(variable, sorted(KNOWN), 1)
                remedy = f"did you mean {near[0]}?" if near else "take it out, or look it up for your version"
                found = f"{variable}, which Ollama 0.17 does not read"
                yield Found(path, found, "it sets nothing", remedy, "warning")


def ollama_library(stack: Stack) -> Iterator[Found]:
    """OLLAMA_LLM_LIBRARY with a name that is none: Ollama falls back to the processor, ten times slower."""
    for name, component in _ollamas(stack):
        library = component.environment.get("OLLAMA_LLM_LIBRARY")
        if library and not library.startswith(LIBRARIES):
            yield Found(
                f"components.{name}.environment.OLLAMA_LLM_LIBRARY", f"`{library}`, which Ollama does not have",
                "it would run on the processor", "take it out; for Intel cards use OLLAMA_VULKAN=1",
            )  # fmt: skip


def gfx_override(stack: Stack) -> Iterator[Found]:
    """HSA_OVERRIDE_GFX_VERSION: it makes one AMD card pass for another, and only near relatives may.

    11.0.0 is RDNA 3 (gfx1100). An Instinct MI300 is gfx942: kernels built for gfx1100 crash on it.
    """
    for name, component in stack.components.items():
        version = component.environment.get("HSA_OVERRIDE_GFX_VERSION")
        if version is not None:
            means = "gfx1100, RDNA 3, which no Instinct card is" if version == "11.0.0" else "another card"
            yield Found(
                f"components.{name}.environment.HSA_OVERRIDE_GFX_VERSION", f"{version} ({means})",
                "kernels for the wrong card crash or give wrong numbers",
                "take it out; set it only for a card that ROCm does not name, to its nearest relative", "warning",
            )  # fmt: skip


def quantised_cache(stack: Stack) -> Iterator[Found]:
    """OLLAMA_KV_CACHE_TYPE without flash attention: Ollama then keeps the cache at 16 bit, twice as large."""
    for name, component in _ollamas(stack):
        kind = component.environment.get("OLLAMA_KV_CACHE_TYPE", "")
        flash = component.environment.get("OLLAMA_FLASH_ATTENTION", "").lower()
        if kind not in ("", "f16") and flash in _OFF:
            yield Found(
                f"components.{name}.environment.OLLAMA_KV_CACHE_TYPE", f"{kind} without flash attention",
                "the cache stays at 16 bit and takes twice the memory", "set OLLAMA_FLASH_ATTENTION to true",
                "warning",
            )  # fmt: skip


def ollama_origins(stack: Stack) -> Iterator[Found]:
    """Ollama open to every web page, or to the whole network on a machine of its own: it has no password."""
    for name, component in _ollamas(stack):
        if component.environment.get("OLLAMA_ORIGINS", "").strip() == "*":
            yield Found(
                f"components.{name}.environment.OLLAMA_ORIGINS", "`*`", "any web page may use and delete models",
                "name the origins that may", "warning",
            )  # fmt: skip
        host = component.environment.get("OLLAMA_HOST", "")
        if stack.target.kind == "process" and "0.0.0.0" in host:  # noqa: S104 - it is looked for, not bound
            yield Found(
                f"components.{name}.environment.OLLAMA_HOST", host, "the network reaches a server without a password",
                "bind 127.0.0.1, and put a proxy with keys in front", "warning",
            )  # fmt: skip


def ollama_metrics(stack: Stack) -> Iterator[Found]:
    """Metrics asked of Ollama itself, which has none: every reading would be unknown, and scaling would hold."""
    for name, rule in stack.scaling.items():
        component = stack.components.get(rule.component)
        if component is None or component.kind != "ollama":
            continue
        sources = {f"scaling.{name}.source": rule.source}
        sources |= {
            f"scaling.{name}.signals.{word}.source": one.source or "" for word, one in rule.signals.items()
        }
        for path, source in sources.items():
            if "{port." in source and source.rstrip("/").endswith("/metrics"):
                yield Found(
                    path, "a metrics page of Ollama", "Ollama has no /metrics: every reading would be unknown",
                    "read queue and latency from the proxy in front of it, or from an exporter",
                )  # fmt: skip


def _ollamas(stack: Stack) -> Iterator[tuple[str, Component]]:
    for name, component in stack.components.items():
        if component.kind == "ollama":
            yield name, component


RULES = (
    Rule("ollama-setting", (18,), ollama_setting),
    Rule("ollama-library", (27,), ollama_library),
    Rule("gfx-override", (27,), gfx_override),
    Rule("quantised-cache", (18,), quantised_cache),
    Rule("ollama-origins", (24,), ollama_origins),
    Rule("ollama-metrics", (11,), ollama_metrics),
)
