"""Models behind somebody else's API: whether it takes the key and has the model, before anything relies on it.

`GET /v1/models/NAME` of OpenAI's API (https://platform.openai.com/docs/api-reference/models/retrieve), which Mistral
and most others have too, and Anthropic's of the same path (https://docs.anthropic.com/en/api/models).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops_pipelines.adapters import _http
from ops_pipelines.policy.plan import Finding

if TYPE_CHECKING:
    import httpx

PROVIDERS = {
    "openai": "https://api.openai.com/v1",
    "mistral": "https://api.mistral.ai/v1",
    "anthropic": "https://api.anthropic.com/v1",
}
"""Provider -> its API."""
_TIMEOUT = 10.0


def probe(
    key: str,
    source: str,
    *,
    api: str | None,
    token: str | None,
    secret_name: str | None,
    transport: httpx.BaseTransport | None = None,
) -> Finding:
    """Ask for the model `source` (`PROVIDER/NAME`) with the value `token` of the secret `secret_name`.

    Good: it is there. Bad: the key is refused, or there is no such model. None where the API does not answer, or is not
    known. `transport` stands in for the network in tests."""
    import httpx

    subject = f"model {key}"
    provider, _, name = source.partition("/")
    base = (api or PROVIDERS.get(provider, "")).rstrip("/")
    if not base:
        words = f"the API of {provider} is not known here: not asked for {name}"
        return Finding(subject, None, words, f"name it: models.{key}.api", "info")
    host = base.partition("://")[2].partition("/")[0]
    try:
        with _http.client(base, timeout=_TIMEOUT, transport=transport, outside=True) as http:
            status = http.get(f"{base}/models/{name}", headers=_headers(provider, token)).status_code
    except httpx.HTTPError as error:
        words = (
            f"{host} does not answer ({error or type(error).__name__}): not known whether {name} can be used"
        )
        return Finding(
            subject, None, words, "check the network and its proxy, or set OPS_OFFLINE=1", "warning"
        )
    match status:
        case 200:
            return Finding(subject, True, f"{host} has {name}, and takes the key")
        case 401 | 403:
            how = f"the key of secret {secret_name!r}" if secret_name else "a request without a key"
            mend = (
                f"renew the key, or accept the model's terms at {host}"
                if secret_name
                else f"set models.{key}.token"
            )
            return Finding(subject, False, f"{host} refuses {how} ({status})", mend)
        case 404:
            return Finding(subject, False, f"{host} has no model {name}", "correct its `source`")
    words = f"{host} answered {status}: not known whether {name} can be used"
    return Finding(subject, None, words, "try again later", "warning")


def _headers(provider: str, token: str | None) -> dict[str, str]:
    if token is None:
        return {}
    if provider == "anthropic":
        return {"x-api-key": token, "anthropic-version": "2023-06-01"}
    return {"Authorization": f"Bearer {token}"}
