"""Models that write text, asked for a few words."""

from __future__ import annotations

from ops_pipelines.adapters.generation import ollama_words, openai_words
from ops_pipelines.errors import Refused, UsageError
from ops_pipelines.wiring.connect import component, endpoint, model_key, served_name
from ops_pipelines.wiring.site import Site


def write(site: Site, model: str, prompt: str, at: str | None = None) -> str:
    """A few words of a model; `at` is another address than the declared one.

    Raises UsageError where no component serves it, Unreachable, Refused (also for an empty answer)."""
    declared, name = site.stack.models[model], served_name(site, model)
    if declared.served_by is None:
        raise UsageError(
            f"the model {model} of {site.name} is served by no component",
            remedy=f"set models.{model}.served_by",
        )
    address = at or endpoint(site, declared.served_by)
    if component(site, declared.served_by).kind == "ollama":
        text = ollama_words(address, name, prompt)
    else:
        chat = declared.role != "completion"
        text = openai_words(address, name, prompt, chat=chat, api_key=model_key(site, model))
    if not text.strip():
        raise Refused(f"{name} answered nothing", remedy="look at the log of its server")
    return text
