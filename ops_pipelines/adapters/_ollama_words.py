"""What Ollama and its registry say when they say no, in words that tell what to do."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from ops_pipelines.errors import Refused
from ops_pipelines.policy.cache_diff import at_source
from ops_pipelines.policy.cache_names import OLLAMA_HOST, parse_ollama, shown_name
from ops_pipelines.policy.models import CacheModel, WantedModel
from ops_pipelines.policy.plan import Finding

if TYPE_CHECKING:
    import httpx

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def mirror_name(reference: str, mirror: str | None) -> str | None:
    """The name under which a mirror has a model of Ollama's own library; None for a model of another registry."""
    host, namespace, name, tag = parse_ollama(reference)
    if mirror is None or host != OLLAMA_HOST:
        return None
    return f"{mirror}/{namespace}/{name}:{tag}"


def ask_registry(
    http: httpx.Client, model: WantedModel, held: CacheModel | None = None, *, mirror: str | None = None
) -> Finding:
    """Whether the registry that a model's name points at has its manifest; None where it does not answer.

    With `held`, the model as the cache has it: whether the registry's is another one."""
    import httpx

    subject = f"model {model.name}"
    unknown = f"not known whether {model.name} {'has moved' if held else 'can be pulled'}"
    mirrored = mirror_name(model.reference, mirror)
    host, namespace, name, tag = parse_ollama(mirrored or model.reference)
    scheme = "http" if (mirrored or "").startswith("http://") else "https"
    url = f"{scheme}://{host}/v2/{namespace}/{name}/manifests/{tag}"
    try:
        answer = http.get(url, headers={"Accept": _MANIFEST}, follow_redirects=True)
    except httpx.HTTPError as error:
        return Finding(
            subject=subject,
            ok=None,
            message=f"{host} does not answer ({error or type(error).__name__}): {unknown}",
            remedy="check the network and its proxy",
            severity="warning",
        )
    match status := answer.status_code:
        case 200 if held is not None:
            digest = hashlib.sha256(answer.content).hexdigest()
            return at_source(model, held, digest, _contents(answer.text))
        case 200:
            return Finding(subject, True, f"{host} has {model.name}")
        case 404:
            return _not_there(subject, model.reference)
        case 401 | 403:
            return _refused(subject, model.reference, f"status {status}")
        case _:
            return Finding(
                subject, None, f"{host} answered {status}: {unknown}", "try again later", "warning"
            )


def _contents(manifest: str) -> frozenset[str]:
    """The digests that a manifest names, or none where it is none."""
    try:
        raw = json.loads(manifest)
        listed = [*raw["layers"], *([raw["config"]] if raw.get("config") else [])]
        return frozenset(str(one["digest"]).removeprefix("sha256:") for one in listed)
    except (ValueError, KeyError, TypeError):
        return frozenset()


def said_no(step: str, error: str, name: str) -> Refused:
    """The error for what the server gave as the reason of a failed pull or create."""
    lower = error.lower()
    if "file does not exist" in lower or "not found" in lower:
        finding = _not_there("", name)
    elif any(word in lower for word in ("401", "403", "unauthorized", "forbidden", "gated")):
        finding = _refused("", name, error)
    else:
        return Refused(
            f"{step} failed: {error}", remedy="see the server's log; a full disk is a common cause"
        )
    return Refused(finding.message, remedy=finding.remedy)


def error_of(text: str) -> str:
    """The `error` of an answer, or the answer's first words."""
    try:
        parsed = json.loads(text)
    except ValueError:
        parsed = None
    said = parsed.get("error") if isinstance(parsed, dict) else None
    return str(said) if said else " ".join(text.split())[:300]


def _not_there(subject: str, name: str) -> Finding:
    host, namespace, model, _ = parse_ollama(name)
    base = "ollama.com" if host == OLLAMA_HOST else host
    page = f"https://{base}/{namespace}/{model}" + ("/tags" if host == OLLAMA_HOST else "")
    message = f"{host} has no model {shown_name(name)}"
    return Finding(subject, False, message, f"choose a name and a tag that exist: {page}")


def _refused(subject: str, name: str, why: str) -> Finding:
    host, namespace, model, _ = parse_ollama(name)
    return Finding(
        subject=subject,
        ok=False,
        message=f"{host} refuses {shown_name(name)} ({why}): it is gated or private",
        remedy=f"accept its licence at https://{host}/{namespace}/{model} and register the server's key"
        " (`ollama signin`, or the key in ~/.ollama/id_ed25519.pub) with that account",
    )
