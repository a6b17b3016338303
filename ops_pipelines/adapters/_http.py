"""The one HTTP client: time limits everywhere, failures as errors of this project."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ops_pipelines.errors import Refused, Unreachable

if TYPE_CHECKING:
    import httpx


def client(
    base_url: str = "",
    *,
    timeout: float = 30.0,
    headers: Mapping[str, str] | None = None,
    transport: httpx.BaseTransport | None = None,
    outside: bool = False,
    verify: ssl.SSLContext | None = None,
    proxy: str | None = None,
) -> httpx.Client:
    """A client of one server. Proxies of the environment are used for servers `outside` of a stack only.

    `transport` stands in for the network in tests. `verify`: whom to trust, and who we are; without it, the CAs that
    httpx brings."""
    import httpx

    return httpx.Client(
        base_url=base_url,
        timeout=httpx.Timeout(timeout, connect=min(timeout, 5.0)),
        headers=dict(headers or {}),
        limits=httpx.Limits(max_connections=16, max_keepalive_connections=4),
        transport=transport,
        trust_env=outside,
        verify=True if verify is None else verify,
        proxy=proxy,
    )


def request(
    http: httpx.Client, method: str, url: str, *, what: str, remedy: str, **kwargs: Any
) -> httpx.Response:
    """Send one request. `what` names the server in errors.

    Raises Unreachable where no answer came, Refused where it is not 2xx (with the answer's first words).
    """
    import httpx

    try:
        response = http.request(method, url, **kwargs)
    except httpx.HTTPError as error:
        raise Unreachable(
            f"{what} does not answer ({error or type(error).__name__})", remedy=remedy
        ) from error
    if not response.is_success:
        words = " ".join(response.text.split())[:300]
        raise Refused(f"{what} answered {response.status_code}: {words}", remedy=remedy)
    return response
