"""What is wanted of a model cache against what is there, and its replicas against each other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal

from ops_pipelines.policy.cache_directory import WHOLE
from ops_pipelines.policy.cache_parts import short
from ops_pipelines.policy.models import (
    CacheFile,
    CacheModel,
    Inventory,
    ModelDifference,
    ModelState,
    WantedModel,
)
from ops_pipelines.policy.plan import Finding

_COMMIT = re.compile(r"[0-9a-f]{40}")
_PIN = 12
"""Digits of a pin that are enough: as many as `ollama list` shows."""

REPAIR = (
    "put the model back from another replica or the newest snapshot that holds it: `ops-pipelines models repair "
    "STACK` shows which; or pull it again with repair"
)

_REMEDY: dict[ModelState, str] = {
    "missing": "pull it: materialise the stack's model_cache, or deploy the stack",
    "partial": "pull it again: the download goes on where it stopped",
    "corrupt": REPAIR,
    "moved": "if the new content is wanted, change the model's `digest` in the stack file; else restore the"
    " cache from the snapshot that holds the pinned one",
    "extra": "declare the model in the stack file, or delete it where it is not needed",
}
_SEVERITY: dict[ModelState, Literal["error", "warning", "info"]] = {"extra": "info"}


def differences(wanted: Sequence[WantedModel], inventory: Inventory) -> tuple[ModelDifference, ...]:
    """One line for each wanted model, then one for each model that nothing asks for."""
    files = inventory.by_path()
    lines: list[ModelDifference] = []
    taken: set[tuple[str, str]] = set()
    for one in wanted:
        line, model = _difference(one, inventory, files)
        lines.append(line)
        if model is not None:
            taken.add((model.name, model.revision))
    names = {one.name for one in wanted}
    for model in inventory.models:
        if (model.name, model.revision) not in taken:
            detail = f"revision {short(model.revision)}, {model.size} bytes"
            if model.name in names:
                detail += ", another revision of a wanted model"
            lines.append(ModelDifference(model.name, "extra", detail))
    return tuple(lines)


def findings(inventory: Inventory, lines: Iterable[ModelDifference]) -> tuple[Finding, ...]:
    """The differences as results of a check. A model that nothing asks for is said, and is no fault."""
    where = place(inventory)
    return tuple(
        Finding(
            subject=f"{where}: {line.model}",
            ok=line.state in ("present", "extra"),
            message=f"{line.model} is {line.state}" + (f" ({line.detail})" if line.detail else ""),
            remedy=_REMEDY.get(line.state, ""),
            severity=_SEVERITY.get(line.state, "error"),
        )
        for line in lines
    )


def place(inventory: Inventory) -> str:
    """How a person names one replica of a cache."""
    return f"cache {inventory.cache}" + (f" replica {inventory.replica}" if inventory.replica else "")


def divergence(inventories: Sequence[Inventory]) -> tuple[Finding, ...]:
    """How the replicas of one cache differ from each other: models, and revisions of them."""
    here = [inventory for inventory in inventories if inventory.exists]
    results = [_no_folder(inventory) for inventory in inventories if not inventory.exists]
    held = {inventory.replica: _revisions(inventory) for inventory in here}
    for name in sorted({name for revisions in held.values() for name in revisions}):
        by_replica = {replica: revisions.get(name) for replica, revisions in held.items()}
        if len(set(by_replica.values())) > 1:
            said = ", ".join(
                f"replica {replica} has {'nothing' if revision is None else revision}"
                for replica, revision in sorted(by_replica.items())
            )
            results.append(
                Finding(
                    subject=f"cache {here[0].cache}: {name}",
                    ok=False,
                    message=f"the replicas differ in {name}: {said}",
                    remedy="fill each replica (materialise the stack's model_cache), or restore the cache, which"
                    " fills all of them with the same content",
                )
            )
    if not results and len(here) > 1:
        results.append(
            Finding(f"cache {here[0].cache}", True, f"the {len(here)} replicas hold the same models")
        )
    return tuple(results)


def verify(inventory: Inventory) -> tuple[Finding, ...]:
    """The content of one replica against the digests that its names and manifests promise."""
    where = place(inventory)
    if not inventory.exists:
        return (_no_folder(inventory),)
    results = [_corrupt(where, file, inventory.models) for file in inventory.files if file.corrupt]
    results += inventory.problems
    if not results:
        count = sum(file.expected is not None for file in inventory.files)
        message = f"{count} of {len(inventory.files)} files have a promised digest, and all of them are right"
        results.append(Finding(where, True, message))
    return tuple(results)


def served(wanted: WantedModel, inventory: Inventory) -> CacheModel | None:
    """The model of a cache that answers for a wanted one, or None where it is not there."""
    return _chosen(wanted, _named(wanted, inventory))


def at_source(
    wanted: WantedModel, held: CacheModel, revision: str, contents: frozenset[str] = frozenset()
) -> Finding:
    """Whether the tag or branch of a model still is at its source what the cache holds.

    `contents` is the digests that the source's manifest names: a manifest written anew by the server may differ in
    its spaces. A tag that moved is said, and no fault: what the cache holds is still what was pulled."""
    blobs = {path.rpartition("/")[2].removeprefix("sha256-") for path in held.files if "blobs/" in path}
    if revision == held.revision or (contents and contents == blobs):
        return Finding(f"model {held.name}", True, f"{held.name} is at its source what it is here")
    message = f"{held.name} has moved at its source: {short(revision)} there, {short(held.revision)} here"
    if wanted.pin is None:
        remedy = "pin the model (`digest`) to stay, or pull it to move on, and take a backup before"
        return Finding(f"model {held.name}", False, message, remedy, "warning")
    message += ", where it is pinned"
    if wanted.scheme == "hf":  # a commit can be had for ever
        return Finding(f"model {held.name}", False, message, "to move on, change its `digest`", "info")
    remedy = "a registry gives no earlier content: `pin` a snapshot that holds it, or move `digest` on"
    return Finding(f"model {held.name}", False, message, remedy, "warning")


def faults(file: CacheFile) -> str:
    """What is wrong with a corrupt file, in words."""
    if file.fault:
        return file.fault
    kind = "SHA-256" if len(file.expected or "") == 64 else "git blob id"
    have = file.sha256 if kind == "SHA-256" else file.git or ""
    return f"its {kind} is {short(have)}..., its name promises {short(file.expected or '')}..."


def _difference(
    wanted: WantedModel, inventory: Inventory, files: dict[str, CacheFile]
) -> tuple[ModelDifference, CacheModel | None]:
    named = _named(wanted, inventory)
    model = _chosen(wanted, named)
    if model is None:
        return ModelDifference(wanted.name, "missing", _why_missing(wanted, named, inventory), wanted), None
    state, detail = _state(wanted, model, named, files)
    return ModelDifference(wanted.name, state, detail, wanted), model


def _state(
    wanted: WantedModel, model: CacheModel, named: Sequence[CacheModel], files: dict[str, CacheFile]
) -> tuple[ModelState, str]:
    bad = [file for path in model.files if (file := files.get(path)) is not None and file.corrupt]
    if bad:
        return "corrupt", "; ".join(f"{file.path}: {faults(file)}" for file in bad[:3])
    if not model.complete:
        listed = ", ".join(model.missing[:3]) + (", ..." if len(model.missing) > 3 else "")
        return "partial", f"not there: {listed}"
    if wanted.pin is not None and not _same(model.revision, wanted.pin):
        also = any(_same(other.revision, wanted.pin) for other in named)
        detail = f"pinned {short(_digits(wanted.pin))}, found {short(model.revision)}"
        return "moved", detail + (", the pinned one is in the cache too" if also else "")
    return "present", f"revision {short(model.revision)}"


def _named(wanted: WantedModel, inventory: Inventory) -> list[CacheModel]:
    whole = inventory.layout == "directory" and [model.name for model in inventory.models] == [WHOLE]
    return [model for model in inventory.models if whole or model.name == wanted.name]


def _chosen(wanted: WantedModel, named: Sequence[CacheModel]) -> CacheModel | None:
    """The model that would be served: the one of the tag or commit asked for, else the pinned one."""
    if not any(model.tags for model in named) and not wanted.revision:
        pinned = [model for model in named if wanted.pin and _same(model.revision, wanted.pin)]
        return next(iter(pinned or named), None)
    asked = wanted.revision or "main"
    if _COMMIT.fullmatch(asked):
        found = [model for model in named if model.revision == asked]
    else:
        found = [model for model in named if asked in model.tags]
        found = found or [model for model in named if wanted.pin and _same(model.revision, wanted.pin)]
    return found[0] if found else None


def _why_missing(wanted: WantedModel, named: Sequence[CacheModel], inventory: Inventory) -> str:
    if not inventory.exists:
        return f"the folder {inventory.root} is not there"
    if named:
        have = ", ".join(short(model.revision) for model in named)
        return f"revision {wanted.revision or 'main'} is not there, only {have}"
    if inventory.partial:
        return f"{len(inventory.partial)} unfinished downloads are in the cache"
    return ""


def _digits(digest: str) -> str:
    return digest.removeprefix("sha256:").removeprefix("sha256-").lower()


def _same(revision: str, pin: str) -> bool:
    digits = _digits(pin)
    return len(digits) >= _PIN and revision.startswith(digits)


def _revisions(inventory: Inventory) -> dict[str, str]:
    held: dict[str, list[str]] = {}
    for model in inventory.models:
        held.setdefault(model.name, []).append(short(model.revision) + ("" if model.complete else " in part"))
    return {name: " and ".join(sorted(revisions)) for name, revisions in held.items()}


def _no_folder(inventory: Inventory) -> Finding:
    return Finding(
        subject=place(inventory),
        ok=False,
        message=f"the folder {inventory.root} of {place(inventory)} is not there",
        remedy="mount its volume, correct the cache's `path`, or fill the cache",
    )


def owned(file: CacheFile, models: Sequence[CacheModel]) -> str:
    """A file and the models that need it, for a sentence."""
    users = list(dict.fromkeys(model.name for model in models if file.path in model.files))
    return f"{file.path} of {', '.join(users)}" if users else f"{file.path} (no model uses it)"


def _corrupt(where: str, file: CacheFile, models: Sequence[CacheModel]) -> Finding:
    users = [model.name for model in models if file.path in model.files]
    return Finding(
        subject=f"{where}: {file.path}",
        ok=False,
        message=f"{owned(file, models)} is corrupt: {faults(file)}",
        remedy=_REMEDY["corrupt"] if users else "delete the file: no model needs it",
        severity="error" if users else "warning",
    )
