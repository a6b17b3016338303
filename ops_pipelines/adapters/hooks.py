"""What a hook does: run a command on this machine, or send a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from ops_pipelines.adapters import _process
from ops_pipelines.adapters._http import client
from ops_pipelines.errors import Refused, Unreachable

if TYPE_CHECKING:
    import httpx

_ANSWER = 300
_KEPT = 4096


def run_command(
    command: Sequence[str],
    *,
    environ: Mapping[str, str],
    folder: Path,
    timeout: float,
    secrets: Sequence[str],
) -> None:
    """Run a command to its end. Raises CommandMissing or CommandFailed, with its output and no secret in it."""
    remedy = "run it by hand in the folder of the stack file and mend it"
    _process.run(command, timeout=timeout, remedy=remedy, environ=environ, cwd=folder, secrets=secrets)


def send_request(
    method: str,
    url: str,
    *,
    body: str,
    headers: Mapping[str, str],
    expect: Sequence[int],
    timeout: float,
    secrets: Sequence[str],
) -> None:
    """Send a request and read its answer. `expect` are the statuses that count as done; without any, 2xx.

    Raises Unreachable where no answer came in time, Refused with the first words of another answer."""
    import httpx

    what = f"{method} {url}"
    end = monotonic() + timeout
    try:
        with (
            client(timeout=timeout) as http,
            http.stream(method, url, content=body.encode(), headers=dict(headers)) as answer,
        ):
            text = _read(answer, end)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        words = _process.masked(str(error) or type(error).__name__, secrets)
        raise Unreachable(f"{what} got no answer ({words})", remedy="look whether the server runs") from None
    if answer.status_code in expect or (not expect and answer.is_success):
        return
    words = _process.masked(" ".join(text.split())[:_ANSWER], secrets)
    wanted = " or ".join(str(status) for status in expect) or "2xx"
    raise Refused(
        f"{what} answered {answer.status_code} instead of {wanted}: {words}",
        remedy="mend the server, or name the status in the hook's `expect`",
    )


def _read(answer: httpx.Response, end: float) -> str:
    """The beginning of an answer, all of which must have come by `end` (monotonic seconds)."""
    import httpx

    kept = b""
    for piece in answer.iter_bytes():
        kept = (kept + piece)[:_KEPT]
        if monotonic() > end:
            raise httpx.ReadTimeout("the answer did not end in time")
    return kept.decode("utf-8", "replace")
