"""The order in which components start: what others depend on comes first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ops_pipelines.errors import DeclarationError


class Depends(Protocol):
    """Whatever names what must be healthy before it."""

    @property
    def depends_on(self) -> Sequence[str]: ...


@dataclass(frozen=True)
class OrderProblem:
    """A dependency that cannot be met."""

    where: str
    found: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.found}; no order of starting would meet it; {self.remedy}"


def component_order(components: Mapping[str, Depends]) -> tuple[str, ...]:
    """Names, each after all that it depends on; else in the order of the declaration."""
    return tuple(name for level in levels({n: c.depends_on for n, c in components.items()}) for name in level)


def levels(depends: Mapping[str, Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """Names in groups: all of one group may start at once, when the groups before it are healthy.

    Raises DeclarationError with every unknown name, or with the cycle.
    """
    problems = [
        OrderProblem(f"components.{name}.depends_on", f"unknown component `{other}`",
                     f"known components: {', '.join(depends)}")
        for name, others in depends.items() for other in others if other not in depends
    ]  # fmt: skip
    if problems:
        raise DeclarationError(problems)
    done: set[str] = set()
    found: list[tuple[str, ...]] = []
    while len(done) < len(depends):
        level = tuple(n for n, others in depends.items() if n not in done and done.issuperset(others))
        if not level:
            ring = _cycle({name: others for name, others in depends.items() if name not in done})
            shown = " -> ".join(f"`{name}`" for name in ring)
            where = f"components.{ring[0]}.depends_on"
            raise DeclarationError([OrderProblem(where, f"a ring: {shown}", "take one of them out of it")])
        found.append(level)
        done.update(level)
    return tuple(found)


def _cycle(depends: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """One ring among names of which each depends on another of them; its first name is also its last."""
    path: list[str] = []
    name = next(iter(depends))
    while name not in path:
        path.append(name)
        name = next(other for other in depends[name] if other in depends)
    return (*path[path.index(name) :], name)
