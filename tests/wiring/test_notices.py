"""Failures are told to every receiver, whatever one of them does, and no URL is."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from ops_pipelines.settings import load_settings
from ops_pipelines.wiring import notices
from ops_pipelines.wiring.site import load_fleet
from tests.wiring.stand import Stand


def test_a_receiver_that_fails_keeps_none_from_being_told(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import apprise

    told: list[str] = []

    def notify(self: Any, title: str, body: str) -> bool:
        [receiver] = self
        if "broken" in receiver.url():
            raise ValueError(f"cannot reach {receiver.url()}")
        told.append(body)
        return True

    monkeypatch.setattr(apprise.Apprise, "notify", notify)
    stand.environ |= {"ONE": "json://broken/hunter2", "TWO": "json://good", "FOUR": "no-url-of-hunter2"}
    names = {"one": "${ONE}", "two": "${TWO}", "three": "${THREE}", "four": "${FOUR}"}
    stand.change(
        secrets={**stand.declared["secrets"], **names}, notify={"urls": ["one", "three", "four", "two"]}
    )
    assert stand.site
    fleet = load_fleet(load_settings(stand.environ, cwd=stand.folder))
    with capture_logs() as logs, caplog.at_level("DEBUG"):
        assert notices.tell(fleet, "chat", title="chat: a run failed", text="the disk died") == 1
        assert notices.tell(fleet, "nobody", title="a run failed", text="x") == 0
    assert told == ["the disk died"]
    assert "hunter2" not in str(logs) + caplog.text
    assert [one["secret"] for one in logs if one["event"] == "notice.not_sent"] == ["one", "three", "four"]
