"""From a declaration to the programs of target `process`, and to the addresses at which they answer.

Replica `i` of component `c` of stack `s` is the program `s.c.i`. A port that is listed under `shared_ports`
is the same for all replicas; of every other port, replica `i` has the declared number + `i`.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from ops_pipelines.errors import DeclarationError
from ops_pipelines.policy.order import component_order
from ops_pipelines.policy.plan import Finding
from ops_pipelines.policy.processes import LOCALHOST, Program, Ready
from ops_pipelines.stack.components import Component, ComposeTarget
from ops_pipelines.stack.model import Stack

# `{{...}}` is left alone: it belongs to the templates of other programs (Go, Jinja).
_WORD = re.compile(r"(?<!\{)\{([a-z][A-Za-z0-9_.-]*)\}(?!\})")
_SCHEMES = {"postgres": "postgresql", "redis": "redis"}
_LAST_PORT = 65535


@dataclass(frozen=True)
class Places:
    """Where a stack stands on this machine: what the words {home} and {python} mean."""

    home: str
    """Folder of all local state."""
    python: str
    """The Python interpreter of this project."""
    cwd: str
    """Folder of the stack file: commands run there, and relative paths start there."""


@dataclass(frozen=True)
class WordProblem:
    """A word of a command, an environment variable or a path that means nothing."""

    where: str
    found: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.found}; the program could not be started; {self.remedy}"


def render_programs(stack: Stack, places: Places) -> tuple[Program, ...]:
    """Every program of the components that are started here, dependencies first.

    Components with an `address` run elsewhere and give none. Raises DeclarationError with all unknown words,
    unknown secrets and caches, and with the cycle where components depend on each other in a ring.
    """
    problems: list[WordProblem] = []
    programs: list[Program] = []
    for name in component_order(stack.components):
        component = stack.components[name]
        if component.address is not None:
            continue
        if not component.command:
            problems.append(
                WordProblem(
                    f"components.{name}",
                    "it has neither a `command` nor an `address`",
                    "give it the one or the other for target process",
                )
            )
        programs += [
            _program(stack, name, replica, places, problems) for replica in range(component.replicas)
        ]
    if problems:
        raise DeclarationError(list(dict.fromkeys(problems)))
    return tuple(programs)


def replica_name(stack: str, component: str, replica: int) -> str:
    """Name of the program of one replica."""
    return f"{stack}.{component}.{replica}"


def port_of(component: Component, port: str, replica: int) -> int | None:
    """Number of a named port of one replica, or None where the component has no such port."""
    number = component.ports.get(port)
    if number is None:
        return None
    return number if port in component.shared_ports else number + replica


def cache_place(stack: Stack, cache: str, replica: int, places: Places) -> str:
    """Folder of a model cache as one replica sees it; `{replica}` and `{home}` in its path are filled in."""
    return _folder(stack.caches[cache].path, replica, places)


def volume_place(stack: Stack, volume: str, replica: int, places: Places) -> str:
    """Folder of a volume as one replica sees it, as that of a cache."""
    return _folder(stack.volumes[volume].path, replica, places)


def _folder(path: str, replica: int, places: Places) -> str:
    filled = path.replace("{replica}", str(replica)).replace("{home}", places.home)
    return os.path.normpath(os.path.join(places.cwd, filled))


def endpoints(stack: Stack) -> Mapping[str, tuple[str, ...]]:
    """Addresses at which each component's clients reach it, one for each replica that has its own.

    The `http` port is meant, else the one that its health check asks, else the first one. A component
    without ports has none.
    """
    found: dict[str, tuple[str, ...]] = {}
    for name, component in stack.components.items():
        if component.address is not None:
            found[name] = (component.address,)
            continue
        port = next(
            (p for p in ("http", component.health.port, *component.ports) if p in component.ports), ""
        )
        scheme = "https" if port == "https" else _SCHEMES.get(component.kind, "http")
        numbers = [port_of(component, port, replica) for replica in range(component.replicas)]
        found[name] = tuple(dict.fromkeys(f"{scheme}://{_host(stack)}:{n}" for n in numbers if n is not None))
    return found


def _host(stack: Stack) -> str:
    """Where the ports of the stack's components are reached."""
    target = stack.target
    if isinstance(target, ComposeTarget) and target.engine is not None:
        return target.engine.published_at or LOCALHOST
    return LOCALHOST


def external_targets(stack: Stack) -> Mapping[str, str]:
    """What to ask of each component that runs elsewhere: its address, with the path of its health check."""
    asked: dict[str, str] = {}
    for name, component in stack.components.items():
        if component.address is None:
            continue
        path = component.health.path
        http = path is not None and urlsplit(component.address).scheme in ("http", "https")
        asked[name] = component.address.rstrip("/") + (path or "") if http else component.address
    return asked


def with_replicas(stack: Stack, replicas: Mapping[str, int]) -> Stack:
    """The same stack with other numbers of replicas (those that scaling has chosen, for one)."""
    components = {
        name: component.model_copy(update={"replicas": replicas[name]}) if name in replicas else component
        for name, component in stack.components.items()
    }
    return stack.model_copy(update={"components": components})


def port_findings(programs: Sequence[Program]) -> tuple[Finding, ...]:
    """A finding for each port that two programs would take, and for each that is no port."""
    findings: list[Finding] = []
    holders: dict[int, Program] = {}
    for program in programs:
        for port in (*program.ports, *program.shared_ports):
            holder = holders.setdefault(port, program)
            shared = port in program.shared_ports and port in holder.shared_ports
            if holder is not program and not (shared and holder.component == program.component):
                findings.append(
                    Finding(
                        f"port/{port}", False, f"{program.name} and {holder.name} would both listen on it",
                        "give one of them another port; replica i of a component takes its port + i",
                    )
                )  # fmt: skip
            if port > _LAST_PORT:
                findings.append(
                    Finding(
                        f"port/{port}", False, f"{program.name} would need it, and ports end at {_LAST_PORT}",
                        "declare a lower port, or fewer replicas",
                    )
                )  # fmt: skip
    return tuple(findings)


def _program(stack: Stack, name: str, replica: int, places: Places, problems: list[WordProblem]) -> Program:
    component = stack.components[name]
    words = dict(_words(stack, component, replica, places))

    def fill(text: str, where: str) -> str:
        def known(match: re.Match[str]) -> str:
            if match[1] in words:
                return words[match[1]]
            remedy = f"known words: {', '.join('{' + word + '}' for word in sorted(words))}"
            problems.append(WordProblem(where, f"unknown word {match[0]}", remedy))
            return match[0]

        return _WORD.sub(known, text)

    where = f"components.{name}"
    shared = [port for port in component.ports if port in component.shared_ports]
    own = [port for port in component.ports if port not in component.shared_ports]
    return Program(
        name=replica_name(stack.stack, name, replica),
        command=tuple(fill(word, f"{where}.command") for word in component.command),
        environment={
            variable: fill(value, f"{where}.environment.{variable}")
            for variable, value in component.environment.items()
        },
        directory=places.cwd,
        stop_seconds=component.stop_within,
        secrets=_secrets(stack, name, component, problems),
        ports=tuple(component.ports[port] + replica for port in own),
        shared_ports=tuple(component.ports[port] for port in shared),
        ready=_ready(name, component, replica, problems),
        after=tuple(component.depends_on),
    )


def users_of(stack: Stack, volume: str) -> tuple[str, ...]:
    """Components that keep a volume's files open: they mount it, or name it in their command or environment."""
    word = f"{{volume.{volume}}}"
    return tuple(
        name
        for name, each in stack.components.items()
        if volume in each.volumes or any(word in text for text in (*each.command, *each.environment.values()))
    )


def _words(stack: Stack, component: Component, replica: int, places: Places) -> Iterator[tuple[str, str]]:
    yield "home", places.home
    yield "python", places.python
    yield "replica", str(replica)
    for port in component.ports:
        yield f"port.{port}", str(port_of(component, port, replica))
    for cache in stack.caches:
        yield f"cache.{cache}", cache_place(stack, cache, replica, places)
    for volume in stack.volumes:
        yield f"volume.{volume}", volume_place(stack, volume, replica, places)


def _secrets(stack: Stack, name: str, component: Component, problems: list[WordProblem]) -> dict[str, str]:
    found = {}
    for variable, secret in component.secrets.items():
        if secret in stack.secrets:
            found[variable] = str(stack.secrets[secret])
        else:
            known = ", ".join(sorted(stack.secrets)) or "none"
            problems.append(
                WordProblem(f"components.{name}.secrets.{variable}", f"unknown secret `{secret}`",
                            f"declare it under `secrets`; declared: {known}")
            )  # fmt: skip
    return found


def _ready(name: str, component: Component, replica: int, problems: list[WordProblem]) -> Ready:
    health = component.health
    port = port_of(component, health.port, replica)
    if port is None and (health.path is not None or len(component.ports) > 1):
        known = ", ".join(component.ports) or "none"
        problems.append(
            WordProblem(f"components.{name}.health.port", f"the component has no port `{health.port}`",
                        f"name one of its ports: {known}")
        )  # fmt: skip
    if port is None and len(component.ports) == 1:
        port = port_of(component, next(iter(component.ports)), replica)
    return Ready(
        port=port,
        path=health.path,
        within=health.within,
        every=health.every,
        scheme="https" if health.port == "https" else "http",
    )
