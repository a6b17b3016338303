"""What model servers and their companions do not have: settings, options, ports, parts."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

from ops_pipelines.policy.lint.ollama import GONE, KNOWN, LIBRARIES, NEVER
from ops_pipelines.policy.lint_compose.rule import (
    ComposeRule,
    Hit,
    kind_of,
    place,
    ports,
    tag_of,
    targets,
)  # fmt: skip
from ops_pipelines.stack.compose_file import ComposeFile, Service, filled

_NUMBERED = re.compile(r"MODEL(_NAME|_API_BASE|_API_KEY)?_\d+")
# Of LiteLLM's config file, which no variable sets.
_LITELLM = {
    "LITELLM_ROUTING_STRATEGY": "set `router_settings.routing_strategy` in the config file",
    "LITELLM_REDIS_CACHE": "set `litellm_settings.cache: true` and `cache_params` in the config file",
    "LITELLM_CACHE_TTL": "set `litellm_settings.cache_params.ttl` in the config file",
    "LITELLM_REQUEST_TIMEOUT": "set `litellm_settings.request_timeout` in the config file",
    "LITELLM_SUPPRESS_DEBUG_INFO": "set `litellm_settings.suppress_debug_info` in the config file",
}
_METHODS = ("awq", "gptq", "gguf", "exl2", "aqlm", "quip")
_CACHES = {
    "ollama": "/root/.ollama",
    "vllm": "/root/.cache/huggingface",
    "aphrodite": "/root/.cache/huggingface",
}
_LANGFUSE_3 = {
    "CLICKHOUSE_URL": "ClickHouse", "LANGFUSE_S3_EVENT_UPLOAD_BUCKET": "an S3 bucket",
    "REDIS_HOST REDIS_CONNECTION_STRING REDIS_CLUSTER_NODES": "Redis",
}  # fmt: skip


def _of(file: ComposeFile, *kinds: str) -> Iterator[Service]:
    for service in file.services.values():
        if kind_of(service) in kinds:
            yield service


def ollama_setting(file: ComposeFile) -> Iterator[Hit]:
    """An OLLAMA_ variable that Ollama does not read (OLLAMA_NUM_GPU, OLLAMA_NUM_THREAD): it sets nothing."""
    for service in _of(file, "ollama"):
        for name, value in service.environment.items():
            if not name.startswith("OLLAMA_") or name in KNOWN:
                continue
            path = f"services.{service.name}.environment.{name}"
            if name in NEVER:
                yield Hit(
                    value.at, path, f"{name}, which Ollama does not read", "it sets nothing", NEVER[name]
                )
            elif name in GONE:
                found = f"{name}, which Ollama no longer reads"
                yield Hit(value.at, path, found, "it sets nothing", GONE[name], "warning")
            else:
                near = difflib.get_close_matches(name, sorted(KNOWN), 1)
                remedy = f"did you mean {near[0]}?" if near else "take it out, or look it up for your version"
                found = f"{name}, which Ollama 0.17 does not read"
                yield Hit(value.at, path, found, "it sets nothing", remedy, "warning")


def ollama_library(file: ComposeFile) -> Iterator[Hit]:
    """OLLAMA_LLM_LIBRARY with a name that is none (openvino): Ollama falls back to the processor."""
    for service in _of(file, "ollama"):
        value = service.environment.get("OLLAMA_LLM_LIBRARY")
        if value is not None and (word := filled(value.text)) and not word.startswith(LIBRARIES):
            yield Hit(
                value.at, f"services.{service.name}.environment.OLLAMA_LLM_LIBRARY",
                f"`{word}`, which Ollama does not have", "it would run on the processor, ten times slower",
                "take it out; for Intel cards use OLLAMA_VULKAN=1",
            )  # fmt: skip


def gfx_override(file: ComposeFile) -> Iterator[Hit]:
    """HSA_OVERRIDE_GFX_VERSION: it makes one AMD card pass for another, and only near relatives may.

    11.0.0 is RDNA 3 (gfx1100); an Instinct MI300 is gfx942, and kernels built for gfx1100 crash on it.
    """
    for service in file.services.values():
        value = service.environment.get("HSA_OVERRIDE_GFX_VERSION")
        if value is not None and filled(value.text):
            word = filled(value.text)
            means = "gfx1100, RDNA 3, which no Instinct card is" if word == "11.0.0" else "another card"
            yield Hit(
                value.at, f"services.{service.name}.environment.HSA_OVERRIDE_GFX_VERSION", f"{word} ({means})",
                "kernels for the wrong card crash or give wrong numbers",
                "take it out; set it only for a card that ROCm does not name, to its nearest relative", "warning",
            )  # fmt: skip


def quantised_cache(file: ComposeFile) -> Iterator[Hit]:
    """OLLAMA_KV_CACHE_TYPE without flash attention: Ollama then keeps the cache at 16 bit, twice as large."""
    for service in _of(file, "ollama"):
        value, flash = (
            service.environment.get(f"OLLAMA_{key}") for key in ("KV_CACHE_TYPE", "FLASH_ATTENTION")
        )
        if value is None or filled(value.text) in ("", "f16"):
            continue
        if flash is None or filled(flash.text).lower() in ("", "0", "f", "false"):
            yield Hit(
                value.at, f"services.{service.name}.environment.OLLAMA_KV_CACHE_TYPE",
                f"{filled(value.text)} without flash attention", "the cache stays at 16 bit and takes twice the memory",
                "set OLLAMA_FLASH_ATTENTION to true", "warning",
            )  # fmt: skip


def litellm_setting(file: ComposeFile) -> Iterator[Hit]:
    """Variables that LiteLLM does not read (MODEL_1, MODEL_NAME_1, LITELLM_ROUTING_STRATEGY): they set nothing.

    Models, routing and caching are set in its config file.
    """
    for service in _of(file, "litellm"):
        for name, value in service.environment.items():
            if _NUMBERED.fullmatch(name):
                remedy = "list the model in `model_list` of a config file, and start with --config"
            elif name in _LITELLM:
                remedy = _LITELLM[name]
            else:
                continue
            path = f"services.{service.name}.environment.{name}"
            breaks = "it sets nothing, and nobody is told"
            yield Hit(value.at, path, f"{name}, which LiteLLM does not read", breaks, remedy)


def litellm_salt(file: ComposeFile) -> Iterator[Hit]:
    """LiteLLM with a database and without LITELLM_SALT_KEY: its rows are encrypted with the master key.

    Change the master key, or restore without it, and no key of a provider in the database can be read.
    """
    for service in _of(file, "litellm"):
        variables = service.environment
        if "DATABASE_URL" in variables and "LITELLM_SALT_KEY" not in variables and not _more(service):
            yield Hit(
                variables["DATABASE_URL"].at, f"services.{service.name}.environment.DATABASE_URL",
                "a database without LITELLM_SALT_KEY",
                "a new master key, or a restore without the old one, makes rows noise",
                "set LITELLM_SALT_KEY once, before the first start, and keep it with the backups", "warning",
            )  # fmt: skip


def langfuse_parts(file: ComposeFile) -> Iterator[Hit]:
    """Langfuse 3 (its `latest`) without ClickHouse, S3 or Redis: it does not start. Version 2 needs Postgres alone.

    Source: https://langfuse.com/self-hosting/configuration
    """
    for service in _of(file, "langfuse"):
        version = re.match(r"v?(\d+)", tag_of(service.image))
        if (version and int(version[1]) < 3) or _more(service):
            continue
        lacking = [
            part
            for names, part in _LANGFUSE_3.items()
            if not any(name in service.environment for name in names.split())
        ]
        if lacking:
            yield Hit(
                place(service, "image"), f"services.{service.name}.image",
                f"Langfuse {tag_of(service.image) or 'latest'} without {' and '.join(lacking)}", "it does not start",
                "add them and their variables, or stay with version 2",
            )  # fmt: skip


def langfuse_keys(file: ComposeFile) -> Iterator[Hit]:
    """Langfuse without NEXTAUTH_SECRET and SALT: it does not start. Without ENCRYPTION_KEY, secrets lie in clear."""
    for service in _of(file, "langfuse"):
        if _more(service):
            continue
        lacking = [name for name in ("NEXTAUTH_SECRET", "SALT") if name not in service.environment]
        if lacking:
            yield Hit(
                place(service, "environment"), f"services.{service.name}.environment",
                f"no {' and no '.join(lacking)}", "Langfuse does not start",
                "set each to a secret of its own, and keep SALT with the backups",
            )  # fmt: skip
        elif "ENCRYPTION_KEY" not in service.environment:
            yield Hit(
                place(service, "environment"), f"services.{service.name}.environment", "no ENCRYPTION_KEY",
                "integrations' keys are kept in clear, or not at all",
                "set ENCRYPTION_KEY (openssl rand -hex 32), and keep it with the backups", "info",
            )  # fmt: skip


def engine_keys(file: ComposeFile) -> Iterator[Hit]:
    """`--api-keys`, which Aphrodite and vLLM do not have: the server does not start."""
    for service in _of(file, "aphrodite", "vllm"):
        given = service.flag("--api-keys")
        if given is not None:
            variable = "APHRODITE_API_KEY" if kind_of(service) == "aphrodite" else "VLLM_API_KEY"
            yield Hit(
                given.at, f"services.{service.name}.command", "--api-keys, which is no option of it",
                "it does not start", f"give it a secret as {variable} (one key; the option is --api-key)",
            )  # fmt: skip


def aphrodite_port(file: ComposeFile) -> Iterator[Hit]:
    """Aphrodite published on a port where it does not listen: API and metrics are both on 2242, not on 8000."""
    for service in _of(file, "aphrodite"):
        given = service.flag("--port")
        listens = int(given.text) if given is not None and given.text.isdecimal() else 2242
        for port in ports(service):
            if port.target and not port.target[0] <= listens <= port.target[1]:
                yield Hit(
                    port.at, f"services.{service.name}.ports", f"port {port.target[0]} of Aphrodite",
                    f"it listens on {listens}, for its API and its metrics: nobody answers", f"publish {listens}",
                )  # fmt: skip


def quantisation_missing(file: ComposeFile) -> Iterator[Hit]:
    """AWQ or GPTQ asked of a repository that is not quantised so: the server stops while it loads."""
    for service in _of(file, "aphrodite", "vllm"):
        method, model = service.flag("--quantization", "-q"), service.flag("--model")
        repository = filled(model.text) if model is not None else ""
        kind = next((each for each in _METHODS if method and method.text.lower().startswith(each)), None)
        plain = repository.count("/") == 1 and not repository.startswith(("/", "."))
        if method is not None and kind and plain and kind not in repository.lower():
            yield Hit(
                method.at, f"services.{service.name}.command",
                f"{kind.upper()} asked of {repository}, which does not say that it is quantised so",
                "the server stops while it loads the model",
                f"name a repository with {kind.upper()} in its name, or take the option out",
            )  # fmt: skip


def cache_forgotten(file: ComposeFile) -> Iterator[Hit]:
    """A model server without a volume where it keeps its models, or with a tmpfs: a new container is empty.

    Every `up` after a change then downloads all of it again.
    """
    for service in _of(file, "ollama", "vllm", "aphrodite"):
        if service.unread:
            continue
        where = _kept_at(service)
        mounted = list(targets(service))
        held = [source for source, target, _ in mounted if target and _within(where, target)]
        if (not held and not _reads_folder(service)) or (held and set(held) <= {"tmpfs"}):
            found = f"no volume at {where}" if not held else f"{where} in memory"
            yield Hit(
                place(service, "volumes"), f"services.{service.name}.volumes", f"{found}, where its models are kept",
                "each new container downloads its models again", f"mount a named volume at {where}", "warning",
            )  # fmt: skip


def hub_twice(file: ComposeFile) -> Iterator[Hit]:
    """HF_HOME that ends in /hub: the hub's library adds `hub` itself, and the models go to hub/hub."""
    for service in file.services.values():
        value = service.environment.get("HF_HOME")
        if value is not None and (home := filled(value.text).rstrip("/")).endswith("/hub"):
            yield Hit(
                value.at, f"services.{service.name}.environment.HF_HOME", f"{home}, to which `hub` is added",
                "models that are there already are not found, and are downloaded again",
                f"set HF_HOME to {home.removesuffix('/hub')}, or HF_HUB_CACHE to {home}", "warning",
            )  # fmt: skip


def _kept_at(service: Service) -> str:
    """Where a server keeps its models."""
    names = (
        ("OLLAMA_MODELS",)
        if kind_of(service) == "ollama"
        else ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME")
    )
    for name in names:
        value = service.environment.get(name)
        if value is not None and filled(value.text).startswith("/"):
            return filled(value.text).rstrip("/")
    option = service.flag("--download-dir")
    return filled(option.text) if option is not None else _CACHES[kind_of(service)]


def _within(where: str, target: str) -> bool:
    """Whether a volume at a path holds the models, all of them or (`/hub`) those of the hub."""
    one, two = f"{where.rstrip('/')}/", f"{target.rstrip('/')}/"
    return one.startswith(two) or two in (f"{one}hub/", f"{one}models/")


def _reads_folder(service: Service) -> bool:
    """Whether a server is given a model by its path."""
    model = service.flag("--model")
    return model is not None and filled(model.text).startswith(("/", "."))


def _more(service: Service) -> bool:
    """Whether variables may come from elsewhere."""
    return bool(service.entry("env_file")) or service.unread


RULES = (
    ComposeRule("OPS-C401", "ollama-setting", (18,), ollama_setting),
    ComposeRule("OPS-C402", "ollama-library", (27,), ollama_library),
    ComposeRule("OPS-C403", "gfx-override", (27,), gfx_override),
    ComposeRule("OPS-C404", "quantised-cache", (18,), quantised_cache),
    ComposeRule("OPS-C405", "litellm-setting", (18, 22), litellm_setting),
    ComposeRule("OPS-C406", "litellm-salt", (28,), litellm_salt),
    ComposeRule("OPS-C407", "langfuse-parts", (19,), langfuse_parts),
    ComposeRule("OPS-C408", "langfuse-keys", (19, 28), langfuse_keys),
    ComposeRule("OPS-C409", "engine-keys", (21,), engine_keys),
    ComposeRule("OPS-C410", "aphrodite-port", (21,), aphrodite_port),
    ComposeRule("OPS-C411", "quantisation-missing", (21,), quantisation_missing),
    ComposeRule("OPS-C412", "cache-forgotten", (7,), cache_forgotten),
    ComposeRule("OPS-C413", "hub-twice", (7,), hub_twice),
)
