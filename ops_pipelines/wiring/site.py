"""A site: one stack, with what is needed to act on it from this machine. A fleet: all of them."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from pathlib import Path

from ops_pipelines.errors import DeclarationError, UnknownStack
from ops_pipelines.policy.adapters import with_adapters
from ops_pipelines.policy.links import link_problems
from ops_pipelines.settings import Settings
from ops_pipelines.stack.loader import BrokenStack, LoadedStack, Problem, load_all, load_stack
from ops_pipelines.stack.model import Stack


@dataclass(frozen=True)
class Site:
    """One stack on this machine."""

    settings: Settings
    loaded: LoadedStack

    @property
    def stack(self) -> Stack:
        """The declaration."""
        return self.loaded.stack

    @property
    def name(self) -> str:
        """Name of the stack."""
        return self.stack.stack

    @property
    def folder(self) -> Path:
        """Folder of the stack file; relative paths of the declaration start here."""
        return self.loaded.path.parent

    @property
    def state(self) -> Path:
        """Folder of the stack's local state."""
        return self.settings.stack_dir(self.name)

    @property
    def scratch(self) -> Path:
        """Folder for what is made on the way; whatever lies there may be removed."""
        return self.state / "scratch"


@dataclass(frozen=True)
class Fleet:
    """All stacks that are declared here, the broken ones included."""

    settings: Settings
    stacks: tuple[LoadedStack, ...]
    broken: tuple[BrokenStack, ...]
    problems: tuple[Problem, ...] = ()
    """What is wrong with the folders themselves."""

    def site(self, name: str) -> Site:
        """The stack of that name. Raises DeclarationError where its file is broken, UnknownStack else."""
        for loaded in self.stacks:
            if loaded.stack.stack == name:
                return Site(self.settings, loaded)
        for broken in self.broken:
            if broken.name == name:
                raise DeclarationError(broken.problems)
        names = [loaded.stack.stack for loaded in self.stacks]
        near = difflib.get_close_matches(name, names, 1)
        raise UnknownStack(
            f"no stack is called {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
            remedy=f"known stacks: {', '.join(names) or 'none'}; their files are looked for in "
            + ", ".join(str(folder) for folder in self.settings.stacks_dirs)
            + " (OPS_STACKS_DIR)",
        )

    def sites(self) -> tuple[Site, ...]:
        """Every stack whose file is sound."""
        return tuple(Site(self.settings, loaded) for loaded in self.stacks)


def load_fleet(settings: Settings) -> Fleet:
    """Read every stack file of the settings' folders. A broken one is kept apart; it stops no other."""
    found = load_all(settings.stacks_dirs, environ=settings.environ, profile_of=settings.profile_of)
    stacks, broken = list[LoadedStack](), list(found.broken)
    for loaded in found.stacks:
        try:
            stacks.append(linked(loaded))
        except DeclarationError as error:
            problems = tuple(each for each in error.problems if isinstance(each, Problem))
            broken.append(BrokenStack(loaded.path, loaded.stack.stack, problems))
    return Fleet(settings, tuple(stacks), tuple(broken), found.problems)


def linked(loaded: LoadedStack) -> LoadedStack:
    """The same stack with its added adapters, where everything that it refers to is there; what is only doubtful joins
    its warnings.

    Raises DeclarationError with a problem, at its place in the file, for each reference that is broken.
    """
    stack, against = with_adapters(loaded.stack)
    problems = [
        Problem(*loaded.position(one.path), one.path, one.found, one.breaks, one.remedy, one.severity)
        for one in (*against, *link_problems(stack))
    ]
    problems.sort(key=lambda one: one.at)
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        raise DeclarationError(errors)
    return replace(loaded, stack=stack, warnings=(*loaded.warnings, *problems))


def site_with_profile(site: Site, profile: str) -> Site:
    """The same stack in another of its forms."""
    loaded = load_stack(site.loaded.path, profile=profile, environ=site.settings.environ)
    return Site(site.settings, linked(loaded))
