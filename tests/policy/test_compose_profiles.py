"""What of a Compose model is switched on."""

from __future__ import annotations

from typing import Any

import pytest

from ops_pipelines.policy.compose_profiles import switched_on

MODEL: dict[str, Any] = {
    "x-common": {"environment": {"KEY": "${SPARE_KEY}"}},
    "services": {
        "api": {"image": "a", "secrets": ["pw"], "depends_on": {"page": {"required": False}, "db": {}}},
        "db": {"image": "d"},
        "page": {"image": "p", "profiles": ["webui"], "secrets": [{"source": "page-pw"}]},
        "graph": {"image": "g", "profiles": ["monitoring", "debug"]},
    },
    "secrets": {"pw": {"environment": "PW"}, "page-pw": {"environment": "PAGE_PW"}},
    "volumes": {"data": {}},
}


@pytest.mark.parametrize(
    ("profiles", "services", "secrets"),
    [
        ([], {"api", "db"}, {"pw"}),
        (["webui"], {"api", "db", "page"}, {"pw", "page-pw"}),
        (["debug", "unknown"], {"api", "db", "graph"}, {"pw"}),
        (["*"], {"api", "db", "page", "graph"}, {"pw", "page-pw"}),
    ],
)
def test_services_of_other_profiles_and_their_secrets_are_left_out(
    profiles: list[str], services: set[str], secrets: set[str]
) -> None:
    found = switched_on(MODEL, profiles)
    assert set(found["services"]) == services
    assert set(found["secrets"]) == secrets
    assert not [key for key in found if key.startswith("x-")]
    assert found["volumes"] == {"data": {}}


def test_what_is_on_is_asked_for_by_no_profile() -> None:
    assert "profiles" not in switched_on(MODEL, ["webui"])["services"]["page"]
    assert MODEL["services"]["page"]["profiles"] == ["webui"]


def test_an_optional_dependency_that_is_off_is_not_waited_for() -> None:
    assert set(switched_on(MODEL, [])["services"]["api"]["depends_on"]) == {"db"}
    assert set(switched_on(MODEL, ["webui"])["services"]["api"]["depends_on"]) == {"page", "db"}
