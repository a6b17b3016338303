"""A real Chromium, as a person has it before him."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from tests.parts import require

_FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
SHOTS = Path(__file__).parents[2] / ".ops" / "screenshots"
_PATIENCE = 60_000.0


@contextmanager
def browser(width: int = 1500, height: int = 900) -> Iterator[Page]:
    """An empty page of that size; it waits a minute for what a test looks for."""
    program = require("chromium").path
    expect.set_options(timeout=_PATIENCE)
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=program, args=list(_FLAGS))
        page = chromium.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(_PATIENCE)
        try:
            yield page
        finally:
            chromium.close()


def shoot(page: Page, name: str) -> Path:
    """Keep what the page shows now under `.ops/screenshots`."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    path = SHOTS / f"{name}.png"
    page.screenshot(path=path)
    return path


def stack_graph(page: Page, url: str, stack: str) -> None:
    """Open the graph of a stack and wait until it is drawn."""
    page.goto(f"{url}/locations/__repository__@ops_pipelines/asset-groups/{stack}/lineage")
    for thing in ("artifact", "model_cache", "deployment", "collections", "snapshot", "drill", "restore"):
        page.get_by_text(thing, exact=True).first.wait_for()


def open_launchpad(page: Page, url: str, stack: str, thing: str) -> None:
    """From the page of an asset to its launchpad, through the menu beside the button."""
    page.goto(f"{url}/assets/{stack}/{thing}")
    button = page.get_by_role("button", name="Materialize")
    button.wait_for()
    button.locator("xpath=following::button[1]").click()
    page.get_by_role("menuitem", name="Open launchpad").click()
    page.get_by_text("Launchpad (configure assets)").wait_for()
