"""The life of a small stack, led from Dagster's pages over GraphQL, with all that is refused on the way."""

from __future__ import annotations

import pytest

from tests.life.leading import lead
from tests.life.living import Living
from tests.life.pages import Pages

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_the_life_of_a_small_stack(small: Living, pages: Pages) -> None:
    lead(small, pages, thorough=True)
