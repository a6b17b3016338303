"""What is run should be the same tomorrow."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ops_pipelines.policy.lint.images import EXACT, MOVING
from ops_pipelines.policy.lint_compose.rule import ComposeRule, Hit, kind_of, place, tag_of
from ops_pipelines.stack.compose_file import ComposeFile, Service


def _pulled(file: ComposeFile) -> Iterator[tuple[Service, str]]:
    for service in file.services.values():
        if service.image and "@sha256:" not in service.image:
            yield service, service.image


def image_floats(file: ComposeFile) -> Iterator[Hit]:
    """An image without a tag, or with one that moves (`latest`, `main-stable`): two starts may differ.

    A rollback has then nothing to go back to.
    """
    for service, image in _pulled(file):
        tag = tag_of(image)
        if tag and not MOVING.search(tag) and any(letter.isdigit() for letter in tag):
            continue
        at = place(service, "image")
        breaks = "a restart may bring another program than the one that was tested"
        found = f"the tag `{tag}`, which moves" if tag else f"{image}, without a tag"
        yield Hit(
            at,
            f"services.{service.name}.image",
            found,
            breaks,
            "name a full version, or a digest (@sha256:…)",
        )


def image_inexact(file: ComposeFile) -> Iterator[Hit]:
    """A tag of a series (`7-alpine`, `15`): patches come by themselves, and so do their faults.

    Postgres has no third number: 17.2 is a patch (https://www.postgresql.org/support/versioning/).
    """
    for service, image in _pulled(file):
        tag = tag_of(image)
        if kind_of(service) == "postgres" and re.match(r"\d+\.\d+", tag):
            continue
        if (
            tag
            and not MOVING.search(tag)
            and any(letter.isdigit() for letter in tag)
            and not EXACT.search(tag)
        ):
            yield Hit(
                place(service, "image"), f"services.{service.name}.image", f"the tag `{tag}`, which names no patch",
                "where it is a series, each pull may bring another patch",
                "name the patch too, or a digest (@sha256:…)", "info",
            )  # fmt: skip


RULES = (
    ComposeRule("OPS-C201", "image-floats", (24,), image_floats),
    ComposeRule("OPS-C202", "image-inexact", (24,), image_inexact),
)
