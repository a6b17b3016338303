"""The same by clicking: a deploy and a restore from the launchpad, in a real browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.life.pages import Pages
from tests.life.small import Small
from tests.ui.browser import browser, open_launchpad, shoot

pytestmark = [pytest.mark.ui, pytest.mark.slow, pytest.mark.whole, pytest.mark.timeout(600)]

_ENDS = 120_000.0  # milliseconds


def set_apply(page: Page) -> None:
    """Turn `apply: false` of the launchpad's editor to true, as a person types it."""
    line = page.get_by_text("apply: false")
    line.click()
    page.keyboard.press("End")
    for _ in "false":
        page.keyboard.press("Backspace")
    page.keyboard.type("true")
    page.keyboard.press("Escape")  # what the editor offers to complete
    expect(page.get_by_text("apply: true")).to_be_visible()


def materialize(page: Page) -> None:
    """Press the launchpad's button and wait until the run has ended well."""
    page.get_by_role("button", name="Materialize").last.click()
    page.wait_for_url("**/runs/*")
    expect(page.get_by_text("Success", exact=True)).to_be_visible(timeout=_ENDS)


def test_deployed_and_restored_by_clicking(small: Small, pages: Pages) -> None:
    stack = small.stack
    for thing, config in (("artifact", {}), ("model_cache", {"apply": True})):
        assert pages.run(stack, thing, **config).status == "SUCCESS"
    with browser() as page:
        open_launchpad(page, pages.url, stack, "deployment")
        set_apply(page)
        shoot(page, "deploy-launchpad")
        materialize(page)
        shoot(page, "deploy-run")
        page.goto(f"{pages.url}/assets/{stack}/deployment?view=events")
        expect(page.get_by_text("components", exact=True).first).to_be_visible()
        shoot(page, "deploy-asset")
        small.fill()
        answers = small.answers()
        assert pages.run(stack, "snapshot").status == "SUCCESS"
        [snapshot] = pages.snapshots(stack)
        small.forget()
        assert small.answers() != answers
        open_launchpad(page, pages.url, stack, "restore")
        box = page.get_by_placeholder("Partition")
        box.click()
        box.fill(snapshot)
        page.get_by_role("menuitem", name=snapshot).click()
        set_apply(page)
        shoot(page, "restore-launchpad")
        materialize(page)
        page.goto(f"{pages.url}/assets/{stack}/restore?view=events")
        expect(page.get_by_text("restored", exact=True).first).to_be_visible()
        shoot(page, "restore-asset")
    assert small.answers() == answers
