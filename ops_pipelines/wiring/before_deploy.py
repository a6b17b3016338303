"""What a deploy on any target asks before it changes anything: secrets long enough, hosted models that answer."""

from __future__ import annotations

from collections.abc import Iterator

from ops_pipelines.adapters import hosted
from ops_pipelines.engines._blobs import in_parallel
from ops_pipelines.errors import OpsError
from ops_pipelines.policy.plan import Finding
from ops_pipelines.wiring.connect import secret
from ops_pipelines.wiring.site import Site


def findings(site: Site) -> tuple[Finding, ...]:
    """Secrets that are too short, and hosted models that cannot be used."""
    return (*secret_lengths(site), *hosted_models(site))


def secret_lengths(site: Site) -> tuple[Finding, ...]:
    """Whether each secret is as long as `secret_lengths` asks. No value, nor its length, is told."""
    return tuple(_lengths(site))


def _lengths(site: Site) -> Iterator[Finding]:
    for name, least in site.stack.secret_lengths.items():
        subject = f"secret/{name}"
        try:
            value = secret(site, name) or ""
        except OpsError as error:
            yield Finding(subject, False, error.message, error.remedy)
            continue
        if len(value) < least:
            remedy = f"make one: openssl rand -hex {(least + 1) // 2}"
            yield Finding(subject, False, f"it has fewer than {least} characters", remedy)
        else:
            yield Finding(subject, True, f"it has {least} characters or more")


def hosted_models(site: Site) -> tuple[Finding, ...]:
    """Whether each hosted model can be used with its key, asked of its API; nobody is asked offline."""
    names = [name for name, one in site.stack.models.items() if one.hosted]
    if site.settings.offline:
        words = "is hosted by somebody else, who is not asked (OPS_OFFLINE)"
        return tuple(Finding(f"model {name}", None, words, "", "info") for name in names)

    def ask(name: str) -> Finding:
        declared = site.stack.models[name]
        try:
            token = secret(site, declared.token)
        except OpsError as error:
            return Finding(f"model {name}", False, error.message, error.remedy)
        source = declared.source.removeprefix("hosted:")
        return hosted.probe(name, source, api=declared.api, token=token, secret_name=declared.token)

    return tuple(in_parallel(ask, names, workers=8))
