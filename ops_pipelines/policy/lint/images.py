"""Rules on images: what is run should be the same tomorrow."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ops_pipelines.policy.lint.rule import Found, Rule, started
from ops_pipelines.stack.model import Stack

MOVING = re.compile(r"(^|[-_.])(latest|nightly|main|master|edge|dev|rolling|canary|snapshot)($|[-_.])")
EXACT = re.compile(r"\d+\.\d+\.\d+|\d{8}|[0-9a-f]{12,}")


def image_floats(stack: Stack) -> Iterator[Found]:
    """An image without a tag, or with one that moves (`latest`, `main-stable`): two replicas may differ.

    A restart then pulls another program than the one that was tested, and a rollback has nothing to go back to.
    """
    for name, component in started(stack).items():
        if component.image is None or "@sha256:" in component.image:
            continue
        tag = _tag(component.image)
        if tag is None:
            found = f"{component.image}, without a tag"
        elif MOVING.search(tag) or not any(letter.isdigit() for letter in tag):
            found = f"the tag `{tag}`, which moves"
        else:
            continue
        breaks = "a restart may bring another program than the one that was tested"
        yield Found(f"components.{name}.image", found, breaks, "name a full version, or a digest (@sha256:…)")


def image_inexact(stack: Stack) -> Iterator[Found]:
    """A tag of a series (`7-alpine`, `25.8`): patches come by themselves, and so do their faults."""
    for name, component in started(stack).items():
        tag = _tag(component.image or "")
        if tag is None or "@sha256:" in (component.image or "") or MOVING.search(tag):
            continue
        if any(letter.isdigit() for letter in tag) and not EXACT.search(tag):
            yield Found(
                f"components.{name}.image", f"the tag `{tag}`, which names no patch",
                "where it is a series, each pull may bring another patch",
                "name the patch too, or a digest (@sha256:…)", "info",
            )  # fmt: skip


def image_missing(stack: Stack) -> Iterator[Found]:
    """A component of a container target without an image, where no Compose file or chart could give one."""
    target = stack.target
    if target.kind != "compose" or target.files:
        return
    for name, component in started(stack).items():
        if component.image is None:
            breaks, remedy = "there is nothing to start", "add `image`, or Compose files under `target.files`"
            yield Found(f"components.{name}", "no image, and no Compose file", breaks, remedy)


def _tag(image: str) -> str | None:
    last = image.partition("@")[0].rpartition("/")[2]
    return last.partition(":")[2] or None


RULES = (
    Rule("image-floats", (24,), image_floats),
    Rule("image-inexact", (24,), image_inexact),
    Rule("image-missing", (24,), image_missing),
)
