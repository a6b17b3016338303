"""Failures are told: always to the log, and to every URL that the stack names."""

from __future__ import annotations

import logging

import structlog

from ops_pipelines.errors import OpsError
from ops_pipelines.wiring.connect import secret
from ops_pipelines.wiring.site import Fleet

log = structlog.get_logger()


def tell(fleet: Fleet, stack: str, *, title: str, text: str) -> int:
    """Say that something failed. Returns how many URLs took the message; none of them stops another.

    The URLs are secrets: they are resolved here and are never logged.
    """
    log.error("failure", stack_name=stack, title=title, text=text)
    try:
        site = fleet.site(stack)
    except OpsError:
        return 0
    taken = 0
    for name in site.stack.notify.urls:
        try:
            url = secret(site, name)
        except OpsError as error:
            log.error("notice.not_sent", stack_name=stack, secret=name, error=error.message)
            continue
        if url and _send(url, title, text):
            taken += 1
        else:
            log.error("notice.not_sent", stack_name=stack, secret=name, error="the receiver did not take it")
    return taken


def _send(url: str, title: str, text: str) -> bool:
    from apprise import Apprise

    # It logs a URL that it does not know as it stands, token and all.
    logging.getLogger("apprise").disabled = True
    sender = Apprise()
    try:
        return bool(sender.add(url)) and bool(sender.notify(title=title, body=text))
    except Exception as error:  # noqa: BLE001 - whatever a receiver's plug-in does, the others are told
        log.error("notice.fault", kind=type(error).__name__)  # its words may hold the URL
        return False
