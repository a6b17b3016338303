"""Real parts for tests: `require("postgres")["initdb"]`, or the test is skipped with how to get it.

With OPS_TEST_REQUIRE=all, or a comma list of names, a missing part fails the test instead: so CI cannot be
green because nothing ran.
"""

from __future__ import annotations

import os

import pytest

from tools.parts import Found, all_parts


def require(name: str) -> Found:
    """Where the part is; without it, the test ends here."""
    part = all_parts().get(name)
    if part is None:
        pytest.fail(f"no part is named {name}; there are: {', '.join(all_parts())}", pytrace=False)
    if found := part.find():
        return found
    message = f"{name} is not here: {part.how_to_get}"
    if must_be_here(name):
        pytest.fail(f"{message} (OPS_TEST_REQUIRE asks for it)", pytrace=False)
    pytest.skip(message)


def must_be_here(name: str) -> bool:
    asked = {word.strip() for word in os.environ.get("OPS_TEST_REQUIRE", "").split(",")}
    return bool(asked & {"all", name})
