"""A restore launched by clicking, in a real browser: its plan is on the page."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from ops_pipelines.wiring import snapshots
from ops_pipelines.wiring.connect import vector_store
from tests.servers.dagster import Platform
from tests.ui.browser import browser, open_launchpad, shoot, stack_graph

pytestmark = [pytest.mark.ui, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def page(platform: Platform) -> Iterator[Page]:
    with browser() as opened:
        yield opened


def test_a_stack_is_one_graph(page: Page, platform: Platform) -> None:
    stack_graph(page, platform.url, "obelisk")
    expect(page.get_by_text(re.compile(r"^\d / \d Passed$")).first).to_be_visible()
    shoot(page, "graph")


def test_a_restore_by_clicking_shows_its_plan(page: Page, platform: Platform) -> None:
    snapshot = snapshots.newest(platform.site)
    before = vector_store(platform.site, "obelisk_docs").state("obelisk_docs")
    open_launchpad(page, platform.url, "obelisk", "restore")
    for field in (
        "apply: false",
        "as_name:",
        "filter:",
        "partitions:",
        "model:",
        "into_cache:",
        "into_path:",
    ):
        expect(page.get_by_text(field).first).to_be_visible()
    box = page.get_by_placeholder("Partition")
    box.click()
    box.fill(snapshot)  # of a long list only some are drawn
    page.get_by_role("menuitem", name=snapshot).click()
    shoot(page, "launchpad")
    page.get_by_role("button", name="Materialize").last.click()
    page.wait_for_url("**/runs/*")
    expect(page.get_by_text("Success", exact=True)).to_be_visible(timeout=120_000)
    _shows_the_plan(page)
    shoot(page, "run")
    page.goto(f"{platform.url}/assets/obelisk/restore?view=events")
    expect(page.get_by_text("Dry run: nothing was changed")).to_be_visible()
    _shows_the_plan(page)
    expect(page.get_by_text("collection/obelisk_docs", exact=True).first).to_be_visible()
    shoot(page, "restore-plan")
    after = vector_store(platform.site, "obelisk_docs").state("obelisk_docs")
    assert before is not None
    assert after is not None
    assert before.name == after.name


def _shows_the_plan(page: Page) -> None:
    for word in ("action", "what", "moves", "detail", "keep", "model_cache/models"):
        expect(page.get_by_text(word, exact=True).first).to_be_visible()


def test_a_broken_file_is_red_with_its_place(page: Page, platform: Platform) -> None:
    page.goto(f"{platform.url}/assets/broken/stack_file")
    expect(page.get_by_text("broken.stack.yaml:4:16").first).to_be_visible()
    shoot(page, "broken-file")
