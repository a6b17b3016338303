"""Rules on models: names that nothing serves, quantisations that are not there, pins."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ops_pipelines.policy.cache_names import OLLAMA_HOST, OLLAMA_NAMESPACE, parse_ollama
from ops_pipelines.policy.lint.rule import Found, Rule, flag, flag_path
from ops_pipelines.stack.components import Component
from ops_pipelines.stack.model import Stack

# Sizes of families of the Ollama library whose list is closed (ollama.com/library, seen in 2026).
_SIZES: Mapping[str, tuple[str, ...]] = {
    "llama2": ("7b", "13b", "70b"),
    "llama3": ("8b", "70b"),
    "llama3.1": ("8b", "70b", "405b"),
    "llama3.2": ("1b", "3b"),
    "llama3.3": ("70b",),
    "codellama": ("7b", "13b", "34b", "70b"),
    "mistral": ("7b",),
    "mixtral": ("8x7b", "8x22b"),
    "gemma": ("2b", "7b"),
    "gemma2": ("2b", "9b", "27b"),
    "phi3": ("3.8b", "14b"),
}
# Families whose quantised tags all name the variant between size and quantisation.
_VARIANT = {
    "llama3": "instruct", "llama3.1": "instruct", "llama3.2": "instruct", "llama3.3": "instruct",
    "mistral": "instruct", "mixtral": "instruct-v0.1",
}  # fmt: skip
_SIZE = re.compile(r"(\d+x)?\d+(\.\d+)?b")
_QUANTISED = re.compile(r"(?P<size>(\d+x)?\d+(\.\d+)?b)-(?P<quant>q\d\w*|fp16)")
_GATED = ("meta-llama/", "google/gemma", "mistralai/Mixtral", "mistralai/Mistral-Large", "CohereForAI/")
_METHODS = ("awq", "gptq", "gguf", "exl2", "aqlm", "quip")


def model_unserved(stack: Stack) -> Iterator[Found]:
    """A model that its source does not have, such as llama3:13b: the first pull fails, after the deploy."""
    for name, model in stack.models.items():
        scheme, _, rest = model.source.partition(":")
        wrong = (
            _wrong_tag(rest) if scheme == "ollama" else _wrong_repository(rest) if scheme == "hf" else None
        )
        if wrong:
            found, remedy = wrong
            yield Found(f"models.{name}.source", found, "the first pull would fail", remedy)


def _wrong_tag(reference: str) -> tuple[str, str] | None:
    host, namespace, family, tag = parse_ollama(reference)
    if (host, namespace) != (OLLAMA_HOST, OLLAMA_NAMESPACE) or family not in _SIZES:
        return None
    sizes = _SIZES[family]
    size = _SIZE.match(tag)
    if size and size[0] not in sizes:
        return f"{reference}; {family} has no {size[0]}", f"{family} is {' or '.join(sizes)}"
    quantised = _QUANTISED.fullmatch(tag)
    if quantised and family in _VARIANT:
        right = f"{family}:{quantised['size']}-{_VARIANT[family]}-{quantised['quant']}"
        return f"{reference}; the library's tags name the variant", f"write ollama:{right}"
    return None


def _wrong_repository(reference: str) -> tuple[str, str] | None:
    repository = reference.partition("@")[0]
    quantised = re.search(r"-(AWQ|GPTQ|GGUF)\b", repository, re.IGNORECASE)
    if repository.lower().startswith("meta-llama/") and quantised:
        return (
            f"{repository}; meta-llama publishes no {quantised[1].upper()}",
            "name a repository that does, such as hf:hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4",
        )
    return None


def quantisation_missing(stack: Stack) -> Iterator[Found]:
    """AWQ or GPTQ asked of a repository that is not quantised so: the server stops while it loads."""
    for name, component in _engines(stack):
        method = flag(component, "--quantization", "-q")
        repository = _model_flag(component)
        if (
            not method
            or repository is None
            or repository.count("/") != 1
            or repository.startswith(("/", ".", "{"))
        ):
            continue
        kind = next((known for known in _METHODS if method.lower().startswith(known)), None)
        if kind and kind not in repository.lower():
            yield Found(
                flag_path(name, component, "--quantization", "-q"),
                f"{kind.upper()} asked of {repository}, which does not say that it is quantised so",
                "the server stops while it loads the model",
                f"name a repository with {kind.upper()} in its name, or take the option out",
            )  # fmt: skip


def model_undeclared(stack: Stack) -> Iterator[Found]:
    """A server that loads a model which `models` does not hold: it is neither kept, nor checked, nor restored."""
    for name, component in _engines(stack):
        repository = _model_flag(component)
        served = [one for one in stack.models.values() if one.served_by == name]
        sources = {one.source.partition(":")[2].partition("@")[0] for one in served}
        if repository is None or repository.startswith(("/", ".", "{")) or repository in sources:
            continue
        yield Found(
            flag_path(name, component, "--model", "-m", "serve"), f"{repository}, which no model of `models` names",
            "it is pulled at each start and is in no backup",
            f"declare it: source hf:{repository}, served_by {name}", "warning",
        )  # fmt: skip


def one_model_each(stack: Stack) -> Iterator[Found]:
    """Several models of one vLLM or Aphrodite: such a server has one, beside its adapters."""
    for name, component in _engines(stack):
        served = [key for key, one in stack.models.items() if one.served_by == name and one.role != "adapter"]
        sources = {stack.models[key].source for key in served}
        if len(sources) > 1:
            yield Found(
                f"models.{served[-1]}.served_by", f"{name}, which serves {', '.join(served[:-1])} already",
                f"one {component.kind} serves one model: requests for the others are refused",
                "declare a component for each, with its share of the card", "warning",
            )  # fmt: skip


def gated_without_token(stack: Stack) -> Iterator[Found]:
    """A model behind a licence without a token: the hub answers 401 at the first pull."""
    for name, model in stack.models.items():
        repository = model.source.removeprefix("hf:")
        known = model.source.startswith("hf:") and repository.startswith(_GATED)
        if model.token is None and (model.gated or known):
            yield Found(
                f"models.{name}", f"{model.source}, which asks for an accepted licence, and no `token`",
                "the hub refuses the pull", "accept the licence on its page and name the secret in `token`",
                "error" if model.gated else "warning",
            )  # fmt: skip


def model_unpinned(stack: Stack) -> Iterator[Found]:
    """A model by a tag or branch alone: its publisher may change what it means, and then answers change."""
    for name, model in stack.models.items():
        scheme, _, rest = model.source.partition(":")
        if scheme in ("ollama", "hf") and model.digest is None and "@" not in rest:
            remedy = "set `digest` to that of its manifest, which the inventory of the model cache shows"
            if scheme == "hf":
                remedy = "add the commit: hf:ORG/REPO@REVISION, or set `digest`"
            breaks = "a tag that is moved changes the answers"
            yield Found(f"models.{name}.source", f"{model.source}, not pinned", breaks, remedy, "info")


def _engines(stack: Stack) -> Iterator[tuple[str, Component]]:
    for name, component in stack.components.items():
        if component.kind in ("vllm", "aphrodite"):
            yield name, component


def _model_flag(component: Component) -> str | None:
    """The model that a vLLM or Aphrodite is told to load: `--model X` or `serve X`."""
    given = flag(component, "--model", "-m")
    if given:
        return given
    words = component.command
    index = words.index("serve") + 1 if "serve" in words else len(words)
    return words[index] if index < len(words) and not words[index].startswith("-") else None


RULES = (
    Rule("model-unserved", (26,), model_unserved),
    Rule("quantisation-missing", (21,), quantisation_missing),
    Rule("model-undeclared", (4,), model_undeclared),
    Rule("one-model-each", (30,), one_model_each),
    Rule("gated-without-token", (26,), gated_without_token),
    Rule("model-unpinned", (26,), model_unpinned),
)
