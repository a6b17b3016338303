"""Verbs of single models: in caches, as files, in memory; and what `restore --model` does."""

from __future__ import annotations

from pathlib import Path

import click

from ops_pipelines.cli._shared import bucket_options, say_bad, show_dry
from ops_pipelines.cli.output import Context, errors_in, json_option, show_findings, show_json, show_rows
from ops_pipelines.cli.progress import progress
from ops_pipelines.engines.models import Picked
from ops_pipelines.engines.ports import Fetch
from ops_pipelines.errors import UsageError
from ops_pipelines.policy.words import size_in_words
from ops_pipelines.wiring import bucket, model_memory, sources
from ops_pipelines.wiring import models as wiring
from ops_pipelines.wiring.site import Site
from ops_pipelines.wiring.wishes import Wish


@click.group()
def models() -> None:
    """List single models, take them out of and into caches as files, and into and out of memory."""


@models.command(name="list")
@click.argument("stack")
@click.argument("snapshot", required=False)
@bucket_options
@json_option
@click.pass_obj
def list_models(
    context: Context,
    stack: str,
    snapshot: str | None,
    bucket_url: str | None,
    endpoint: str | None,
    region: str,
    as_json: bool,
) -> None:
    """List the models in the caches of STACK, or those that SNAPSHOT holds."""
    held = _held(context, stack, snapshot, bucket_url, endpoint, region)
    with progress() as report:
        rows = wiring.list_held(held) if held else wiring.list_here(context.site(stack), report)
    if as_json:
        show_json(rows)
        return
    show_rows(
        (
            {
                **row,
                "revision": row["revision"][:12],
                "tags": ", ".join(row["tags"]),
                "size": size_in_words(row["size"]),
                "whole": "yes" if row["whole"] else "NO",
            }
            for row in rows
        ),
        empty="no models",
    )


@models.command(name="sources")
@click.argument("stack")
@json_option
@click.pass_obj
def model_sources(context: Context, stack: str, as_json: bool) -> int:
    """Ask registry and hub whether the tags of STACK's models have moved. Exits with 1 where one is not known."""
    with progress() as report:
        findings = sources.ask(context.site(stack), report)
    unknown = [finding for finding in findings if finding.ok is None]
    code = show_findings(findings, as_json=as_json, good="see above" if findings else "no model has a source")
    return 1 if unknown else code


@models.command(name="export")
@click.argument("stack")
@click.argument("model")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--snapshot", help="Take it from this snapshot, not from the live cache.")
@click.option("--cache", help="Model cache that holds it, where several do.")
@bucket_options
@json_option
@click.pass_obj
def export_model(
    context: Context,
    stack: str,
    model: str,
    file: Path,
    snapshot: str | None,
    cache: str | None,
    bucket_url: str | None,
    endpoint: str | None,
    region: str,
    as_json: bool,
) -> None:
    """Write MODEL of STACK into FILE, a tar that `models import` takes. Equal models give equal bytes."""
    held = _held(context, stack, snapshot, bucket_url, endpoint, region)
    with progress() as report:
        if held:
            made = wiring.export_held(held, model, file, cache=cache, progress=report)
        else:
            made = wiring.export_here(context.site(stack), model, file, cache=cache, progress=report)
    if as_json:
        facts = {"model": made.name, "revision": made.revision, "layout": made.layout}
        show_json({**facts, "file": str(file), "files": len(made.files), "bytes": made.size})
        return
    click.echo(f"{made.name}@{made.revision[:12]}: {size_in_words(made.size)} in {file}")


@models.command(name="import")
@click.argument("stack")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--cache", help="Model cache that it goes into (default: the only one of its layout).")
@click.option("--into-path", type=click.Path(path_type=Path, file_okay=False), help="A folder instead.")
@click.option("--apply", is_flag=True, help="Do it. Without it, the plan is shown and nothing changes.")
@json_option
@click.pass_obj
def import_model(
    context: Context,
    stack: str,
    file: Path,
    cache: str | None,
    into_path: Path | None,
    apply: bool,
    as_json: bool,
) -> int:
    """Put the model in FILE into a cache of STACK: checked first, nothing taken away. A plan unless --apply."""
    site = context.site(stack)
    picked, fetch = wiring.open_file(file)
    if into_path is not None:
        target = wiring.folder_target(into_path, picked.layout)
    else:
        target = wiring.cache_target(site, wiring.cache_for(site, picked, cache))
    return _put(picked, fetch, target, apply=apply, as_json=as_json)


@models.command(name="repair")
@click.argument("stack")
@click.option("--apply", is_flag=True, help="Do it. Without it, the plan is shown and nothing changes.")
@json_option
@click.pass_obj
def repair_models(context: Context, stack: str, apply: bool, as_json: bool) -> int:
    """Put models of STACK right that are corrupt or not whole, from another replica or the newest snapshot."""
    site = context.site(stack)
    with progress() as report:
        if not apply:
            show_dry(wiring.plan_repair(site, report), as_json=as_json)
            return 0
        findings = wiring.repair(site, by="command line", progress=report)
    return show_findings(findings, as_json=as_json, good="every model is whole and right")


@models.command(name="warm")
@click.argument("stack")
@click.argument("model", required=False)
@json_option
@click.pass_obj
def warm_models(context: Context, stack: str, model: str | None, as_json: bool) -> int:
    """Ask every model of STACK, or one MODEL, for an answer, base models first: it is then loaded and has worked."""
    with progress() as report:
        findings = model_memory.warm(context.site(stack), model, report)
    return show_findings(findings, as_json=as_json, good="every model that was asked answers")


@models.command(name="load")
@click.argument("stack")
@click.argument("model")
@click.option("--keep-alive", help="How long Ollama keeps it: a duration such as 10m, or -1 for good.")
@json_option
@click.pass_obj
def load_model(context: Context, stack: str, model: str, keep_alive: str | None, as_json: bool) -> int:
    """Bring MODEL into the memory of its server: Ollama loads it, vLLM wakes or takes the adapter."""
    with progress() as report:
        findings = model_memory.load(context.site(stack), model, keep_alive, report)
    return show_findings(findings, as_json=as_json, good=f"{model} is loaded")


@models.command(name="unload")
@click.argument("stack")
@click.argument("model")
@json_option
@click.pass_obj
def unload_model(context: Context, stack: str, model: str, as_json: bool) -> int:
    """Let MODEL go from the memory of its server: Ollama unloads it, vLLM sleeps or drops the adapter."""
    with progress() as report:
        findings = model_memory.unload(context.site(stack), model, report)
    return show_findings(findings, as_json=as_json, good=f"{model} is not in memory any more")


def restore_model(held: wiring.Held, site: Site | None, wish: Wish, *, apply: bool, as_json: bool) -> int:
    """`restore --model`: one model of a snapshot, into the cache that it came from or another. `site` is None
    where there is nothing but the bucket."""
    picked, target = wish.picked(held, site)
    return _put(picked, held.fetch, target, apply=apply, as_json=as_json)


def _put(picked: Picked, fetch: Fetch, target: wiring.Target, *, apply: bool, as_json: bool) -> int:
    if not apply:
        show_dry(wiring.plan_put(picked, target), as_json=as_json)
        return 0
    with progress() as report:
        results, findings = wiring.put(picked, fetch, target, by="command line", progress=report)
    bad = errors_in(findings)
    if as_json:
        show_json({"good": not bad, "results": results, "findings": findings})
        return 1 if bad else 0
    show_rows(
        (
            {
                "model": one.model,
                "revision": one.revision[:12],
                "folder": one.root,
                "brought": f"{one.brought} files, {size_in_words(one.moved)}",
                "kept": one.kept,
            }
            for one in results
        ),
        empty="nothing was done",
    )
    say_bad(findings)
    if not bad:
        click.echo(f"{picked.model.name} is in {target.name}")
    return 1 if bad else 0


def _held(
    context: Context,
    stack: str,
    snapshot: str | None,
    bucket_url: str | None,
    endpoint: str | None,
    region: str,
) -> wiring.Held | None:
    """The snapshot, or None where the live stack is meant."""
    if bucket_url is None:
        return None if snapshot is None else wiring.held(context.site(stack), snapshot)
    if snapshot is None:
        raise UsageError(
            "with --bucket a snapshot is needed: there is no live cache",
            remedy=f"name one; `ops-pipelines snapshots {stack} --bucket ...` lists them",
        )
    opened = bucket.open_bucket(bucket_url, endpoint, region, context.settings)
    return bucket.held(opened, stack, snapshot)


COMMANDS = (models,)
