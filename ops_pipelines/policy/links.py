"""References inside a declaration that must resolve: a stack in which they do not is refused when it is read.

The models of `stack/` check each value by itself; here stands what one value says about another. Every
problem is told, each at the dotted path of the value that is to be changed.
"""

from __future__ import annotations

from collections.abc import Iterator

from ops_pipelines.errors import DeclarationError
from ops_pipelines.policy._link_bluegreen import bluegreen_links
from ops_pipelines.policy._link_data import collection_links, model_links
from ops_pipelines.policy._link_operations import (
    database_links,
    operation_links,
    safeguard_links,
    scaling_links,
)
from ops_pipelines.policy._link_problem import LinkProblem, known_words, no_secret
from ops_pipelines.policy._link_times import time_links
from ops_pipelines.policy._link_volumes import bucket_links, volume_links
from ops_pipelines.policy.order import OrderProblem, levels
from ops_pipelines.policy.programs import Places, WordProblem, port_findings, render_programs, with_replicas
from ops_pipelines.stack.model import Stack

__all__ = ["LinkProblem", "link_problems"]

_ANYWHERE = Places("/", "python", "/")


def link_problems(stack: Stack) -> tuple[LinkProblem, ...]:
    """Everything in a declaration that refers to what is not there, or that contradicts another part of it."""
    found = [
        *(
            found
            for name in stack.secret_lengths
            for found in no_secret(stack, f"secret_lengths.{name}", name)
        ),
        *_components(stack),
        *model_links(stack),
        *collection_links(stack),
        *database_links(stack),
        *volume_links(stack),
        *bucket_links(stack),
        *safeguard_links(stack),
        *operation_links(stack),
        *scaling_links(stack),
        *bluegreen_links(stack),
        *time_links(stack),
    ]
    if stack.target.kind == "process" and not any(problem.path.startswith("components") for problem in found):
        found += _programs(stack)
    return tuple(dict.fromkeys(found))


def _components(stack: Stack) -> Iterator[LinkProblem]:
    for name, component in stack.components.items():
        where = f"components.{name}"
        for index, port in enumerate(component.shared_ports):
            if port not in component.ports:
                yield LinkProblem(
                    f"{where}.shared_ports.{index}", f"no port `{port}`", "no replica could share it",
                    known_words(port, component.ports, "ports of this component"),
                )  # fmt: skip
        health = component.health
        asked = health.path is not None or len(component.ports) > 1
        if component.address is None and component.ports and asked and health.port not in component.ports:
            yield LinkProblem(
                f"{where}.health.port", f"no port `{health.port}`", "nobody could tell whether a replica answers",
                known_words(health.port, component.ports, "ports of this component"),
            )  # fmt: skip
        for variable, secret in component.secrets.items():
            yield from no_secret(stack, f"{where}.secrets.{variable}", secret)
    yield from _order(stack)


def _order(stack: Stack) -> Iterator[LinkProblem]:
    """Dependencies on what is not there, and rings."""
    broken = False
    for name, component in stack.components.items():
        for index, other in enumerate(component.depends_on):
            if other not in stack.components:
                broken = True
                yield LinkProblem(
                    f"components.{name}.depends_on.{index}", f"no component `{other}`",
                    f"{name} would wait for it for ever", known_words(other, stack.components, "components"),
                )  # fmt: skip
    if broken:
        return
    try:
        levels({name: component.depends_on for name, component in stack.components.items()})
    except DeclarationError as error:
        for problem in error.problems:
            if isinstance(problem, OrderProblem):
                breaks = "no order of starting would meet it"
                yield LinkProblem(problem.where, problem.found, breaks, problem.remedy)


def _programs(stack: Stack) -> Iterator[LinkProblem]:
    """Target `process`: words of commands that mean nothing, and ports that two programs would take."""
    try:
        programs = render_programs(stack, _ANYWHERE)
    except DeclarationError as error:
        for problem in error.problems:
            if isinstance(problem, WordProblem):
                breaks = "the program could not be started"
                yield LinkProblem(problem.where, problem.found, breaks, problem.remedy)
        return
    clashes = port_findings(programs)
    for finding in clashes:
        yield _port(stack, finding.subject, finding.message, finding.remedy, "error")
    if clashes:
        return
    most = {rule.component: rule.maximum for rule in stack.scaling.values() if rule.owner == "ops-pipelines"}
    grown = {name: max(most.get(name, 0), each.replicas) for name, each in stack.components.items()}
    for finding in port_findings(render_programs(with_replicas(stack, grown), _ANYWHERE)):
        found = f"{finding.message} once scaling has added replicas"
        yield _port(stack, finding.subject, found, finding.remedy, "warning")


def _port(stack: Stack, subject: str, message: str, remedy: str, severity: str) -> LinkProblem:
    number = int(subject.removeprefix("port/"))
    near = [
        (number - port, f"components.{name}.ports.{word}")
        for name, component in stack.components.items() if component.address is None
        for word, port in component.ports.items() if port <= number
    ]  # fmt: skip
    path = min(near)[1] if near else "components"
    breaks = "one of them could not start"
    return LinkProblem(
        path, f"port {number}: {message}", breaks, remedy, "error" if severity == "error" else "warning"
    )
