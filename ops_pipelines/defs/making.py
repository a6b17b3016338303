"""How an asset, or the checks of a stack, become definitions.

`@dg.asset` reads the signature of its function some fifteen times, which is half of the time that a fleet takes to
load. The functions of all stacks are the same here, so the op is made from its parts, and nothing is read again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

import dagster as dg

from ops_pipelines.defs import names
from ops_pipelines.defs.one_off_pipes import moved_by_pipes
from ops_pipelines.wiring.site import Site

Events = Iterator[Any]
Config = TypeVar("Config", bound=dg.Config)


class _After(dg.In):
    """What a step waits for. Dagster makes a definition of it for each step of each stack; here one does for all."""

    def to_definition(self, name: str) -> Any:
        return _input(name)


class _Made(dg.Out):
    """What a step makes; the same."""

    def to_definition(self, annotation_type: Any, name: str | None, *_more: Any, **_named: Any) -> Any:
        return _output(self.is_required, annotation_type, name)


@cache
def _input(name: str) -> Any:
    return dg.In(dg.Nothing).to_definition(name)


@cache
def _output(required: bool, annotation_type: Any, name: str | None) -> Any:
    return dg.Out(dg.Nothing, is_required=required).to_definition(annotation_type, name, None, None)


_AFTER = _After(dg.Nothing)
_MADE = {required: _Made(dg.Nothing, is_required=required) for required in (True, False)}


def make_asset(
    site: Site,
    thing: str,
    run: Callable[[dg.AssetExecutionContext, Config], Events],
    config: type[Config],
    *,
    kinds: set[str],
    description: str,
    deps: Sequence[str] = (),
    checks: Mapping[str, str] | None = None,
    partitions: dg.PartitionsDefinition[str] | None = None,
    always: bool = True,
) -> dg.AssetsDefinition:
    """One asset of a stack. `deps` are things of the same stack, `checks` their descriptions by name.

    `always` False lets a dry run materialise nothing.
    """
    key, name = names.key(site.name, thing), names.op(site.name, thing)
    upstream = {dep: names.key(site.name, dep) for dep in deps}
    specs = {
        check: dg.AssetCheckSpec(check, asset=key, description=words)
        for check, words in (checks or {}).items()
    }

    def compute(context: dg.AssetExecutionContext, _inputs: Mapping[str, object]) -> Events:
        with moved_by_pipes(context):
            yield from run(context, config(**(context.op_execution_context.op_config or {})))

    op = dg.OpDefinition(
        compute_fn=compute,
        name=name,
        description=description,
        ins=dict.fromkeys(upstream, _AFTER),
        outs=dict.fromkeys(("result", *specs), _MADE[always]),
        config_schema=_schema(config),
    )
    spec = dg.AssetSpec(
        key,
        deps=list(upstream.values()),
        description=description,
        group_name=names.group(site.name),
        owners=names.owners(site.stack),
        kinds=kinds,
        partitions_def=partitions,
        tags={names.STACK_TAG: site.name},
    )
    return dg.AssetsDefinition(
        node_def=op,
        keys_by_input_name=upstream,
        keys_by_output_name={"result": key},
        specs=[spec],
        check_specs_by_output_name=specs,
    )


def make_checks(
    site: Site,
    name: str,
    run: Callable[[dg.AssetCheckExecutionContext], Events],
    specs: Sequence[dg.AssetCheckSpec],
    description: str,
) -> dg.AssetChecksDefinition:
    """Checks of a stack that one op makes, all or some of them."""
    keys = list(dict.fromkeys(spec.asset_key for spec in specs))

    def compute(context: dg.AssetCheckExecutionContext, _inputs: Mapping[str, object]) -> Events:
        return run(context)

    outputs = {f"{spec.asset_key.path[-1]}_{spec.name}": spec for spec in specs}
    inputs = {key.path[-1]: key for key in keys}
    op = dg.OpDefinition(
        compute_fn=compute,
        name=names.op(site.name, name),
        description=description,
        ins=dict.fromkeys(inputs, _AFTER),
        outs=dict.fromkeys(outputs, _MADE[False]),
    )
    checks: dg.AssetChecksDefinition = dg.AssetChecksDefinition.create(
        keys_by_input_name=inputs,
        node_def=op,
        check_specs_by_output_name=outputs,
        can_subset=True,
    )
    return checks


@cache
def _schema(config: type[dg.Config]) -> Any:
    """What the launchpad asks for, worked out once for all stacks; None where nothing can be set."""
    return config.to_config_schema() if config.model_fields else None
