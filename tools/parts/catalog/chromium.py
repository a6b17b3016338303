"""A browser, to look at pages as a user does. Playwright takes it by `executable_path`."""

from __future__ import annotations

from tools.parts.part import Part

PARTS = (
    Part(
        name="chromium",
        version="debian",
        binaries=("chromium",),
        how_to_get="make parts (Debian: apt-get install chromium fonts-liberation)",
        # Without a font of its own a page's text is boxes.
        debian=("chromium", "fonts-liberation"),
    ),
)
