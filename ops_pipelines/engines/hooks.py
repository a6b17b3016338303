"""Hooks of a backup: what makes a part hold still before it is read, and lets it go after.

Whatever `before` began, `after` ends: where a hook fails, where the backup fails, where it is interrupted. What
is to be ended is written down before anything begins, in a file that outlives the run; of a run that was killed
the next one finds it there and does it.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import structlog

from ops_pipelines.engines._hold import Nothing
from ops_pipelines.engines._journal import write_durably
from ops_pipelines.engines.ports import Clock, Guard
from ops_pipelines.errors import OpsError, PartFailed
from ops_pipelines.policy.manifest import HookRun
from ops_pipelines.stack.safeguards import Hook, Hooks

log = structlog.get_logger()

RunHook = Callable[[Hook], None]
"""Run one hook within its time limit. Raises OpsError, with what it printed and without the values of secrets."""


@dataclass
class Held:
    """One part, or the whole stack (""), between its hooks."""

    keeper: HookKeeper
    key: str
    hooks: Hooks
    done: list[HookRun] = field(default_factory=list)
    released: bool = False
    held: bool = False

    @property
    def quiesced(self) -> bool:
        """True where a hook that quiesces has run, and nothing of its kind has failed."""
        return self.held

    @property
    def runs(self) -> tuple[HookRun, ...]:
        """Every hook that ran, in order."""
        return tuple(self.done)

    def begin(self) -> None:
        """Run `before`. Raises PartFailed with the first one that fails and may not."""
        self.keeper.owe(self.key, self.hooks)
        for hook in self.hooks.before:
            error = self.keeper.run(hook, "before", self.key, self.done)
            if error is not None and hook.on_failure == "fail":
                raise PartFailed(
                    f"{self.key or 'the stack'} was not backed up: its hook `{hook.label}` failed: {error.message}",
                    remedy=error.remedy or "mend the hook, or set its `on_failure: continue`",
                ) from error
        quiescing = [hook for hook in self.hooks.before if hook.quiesces]
        good = [run.ok for hook, run in zip(self.hooks.before, self.done, strict=True) if hook.quiesces]
        self.held = bool(quiescing) and all(good)

    def release(self) -> None:
        """Run `after`, once. What fails is told by the keeper when all is over, and stays owed."""
        if self.released:
            return
        self.released = True
        self.keeper.settle(self.key, self.hooks, self.done)


@dataclass
class HookKeeper:
    """Runs the hooks of one backup, and remembers which are owed."""

    stack: str
    state: Path
    """Folder of the stack's own that outlives a run."""
    hooks: Mapping[str, Hooks]
    """By part key; "" are those of the whole stack."""
    run_hook: RunHook
    clock: Clock
    failures: list[str] = field(default_factory=list)
    """What could not be let go, in words."""

    @property
    def path(self) -> Path:
        """Where it is written down what is owed."""
        return self.state / "hooks-owed.json"

    @contextmanager
    def session(self) -> Iterator[None]:
        """The time in which hooks are run. What a killed run left owed is done first.

        A lock that the system frees with the process tells a run at work from one that was killed."""
        self.state.mkdir(parents=True, exist_ok=True)
        with self._lock_path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._settle_owed()
            yield

    def settle_killed(self) -> list[str]:
        """Run what a killed run left owed, and name its parts. A run at work is left alone."""
        if not self.path.exists():
            return []
        with self._lock_path.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return []
            return self._settle_owed()

    @property
    def _lock_path(self) -> Path:
        return self.state / "hooks.lock"

    @contextmanager
    def hold(self, key: str) -> Iterator[Guard]:
        """Hold a part still (its key) or the whole stack (""). `after` runs whatever happens meanwhile."""
        hooks = self.hooks.get(key)
        if hooks is None or not (hooks.before or hooks.after):
            yield Nothing()
            return
        held = Held(self, key, hooks)
        try:
            held.begin()
            yield held
        finally:
            held.release()

    def run(
        self, hook: Hook, when: Literal["before", "after"], key: str, done: list[HookRun]
    ) -> OpsError | None:
        """Run one hook and note it in `done`; the error, where it failed."""
        began = self.clock()
        error: OpsError | None = None
        ok = False
        try:
            self.run_hook(hook)
            ok = True
        except OpsError as failure:
            error = failure
        finally:
            took = (self.clock() - began).total_seconds()
            done.append(HookRun(when, hook.label, began.isoformat(), round(took, 3), ok))
        say = log.info if ok else log.warning
        say("hook ran", stack_name=self.stack, part=key, hook=hook.label, when=when, ok=ok, seconds=took,
            **({} if error is None else {"error": error.message}))  # fmt: skip
        return error

    def settle(self, key: str, hooks: Hooks, done: list[HookRun]) -> None:
        """Run every `after`, whatever becomes of the one before it. Those that failed and matter stay owed."""
        left: list[Hook] = []
        for hook in hooks.after:
            error = self.run(hook, "after", key, done)
            if error is not None and hook.on_failure == "fail":
                left.append(hook)
                self.failures.append(f"`{hook.label}` of {key or 'the stack'}: {error.message}")
        owed = {name: one for name, one in self.owed().items() if name != key}
        if left:
            owed[key] = Hooks(after=left)
        self._write(owed)

    def _settle_owed(self) -> list[str]:
        owed = self.owed()
        for key, hooks in owed.items():
            log.warning("hooks of a killed run", stack_name=self.stack, part=key)
            self.settle(key, hooks, [])
        return [key or "the stack" for key in owed]

    def owe(self, key: str, hooks: Hooks) -> None:
        """Write down that `after` is to be run, before anything makes that necessary."""
        if hooks.after:
            self._write({**self.owed(), key: Hooks(after=hooks.after)})

    def owed(self) -> dict[str, Hooks]:
        """What is owed, by part key. A file that cannot be read is set aside and told."""
        try:
            raw = json.loads(self.path.read_bytes())
            return {key: Hooks.model_validate(one) for key, one in raw.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, AttributeError) as error:
            self.path.replace(self.path.with_suffix(".unreadable"))
            log.error("owed hooks unreadable", path=str(self.path), error=type(error).__name__)
            self.failures.append(f"{self.path} was unreadable: look whether anything is still held still")
            return {}

    def _write(self, owed: Mapping[str, Hooks]) -> None:
        if not owed:
            self.path.unlink(missing_ok=True)
            return
        content = {key: hooks.model_dump(mode="json") for key, hooks in owed.items()}
        write_durably(self.path, json.dumps(content, indent=1))
