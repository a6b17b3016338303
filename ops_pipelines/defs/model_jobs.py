"""Jobs that bring models into memory and let them go; shared by all stacks."""

import dagster as dg

from ops_pipelines.defs.configs import LoadConfig, UnloadConfig, WarmConfig
from ops_pipelines.defs.metadata import findings_metadata, table
from ops_pipelines.defs.names import key
from ops_pipelines.defs.running import FLEET, LogProgress, failures, site_of
from ops_pipelines.policy import serving
from ops_pipelines.policy.plan import Finding, failed
from ops_pipelines.wiring import deployments, model_memory
from ops_pipelines.wiring.site import Site


@dg.op(required_resource_keys={FLEET}, description="Ask models for an answer, base models first.")
def ask_models(context: dg.OpExecutionContext, config: WarmConfig) -> None:
    """Fails where one does not answer."""
    with failures():
        site = site_of(context, config.stack)
        found = model_memory.warm(site, config.model or None, LogProgress(context))
        _told(context, site, "warmed", found)


@dg.op(required_resource_keys={FLEET}, description="Bring a model into the memory of its server.")
def load_into_memory(context: dg.OpExecutionContext, config: LoadConfig) -> None:
    """Fails where a replica does not load it."""
    with failures():
        site = site_of(context, config.stack)
        found = model_memory.load(site, config.model, config.keep_alive or None, LogProgress(context))
        _told(context, site, f"loaded {config.model}", found)


@dg.op(required_resource_keys={FLEET}, description="Let a model go from the memory of its server.")
def unload_from_memory(context: dg.OpExecutionContext, config: UnloadConfig) -> None:
    """Fails where a replica does not let it go."""
    with failures():
        site = site_of(context, config.stack)
        found = model_memory.unload(site, config.model, LogProgress(context))
        _told(context, site, f"unloaded {config.model}", found)


def _told(context: dg.OpExecutionContext, site: Site, done: str, found: tuple[Finding, ...]) -> None:
    """What was done and what is loaded now, beside the deployment; a failure where any of it is an error."""
    bad = [one for one in failed(list(found)) if one.severity == "error"]
    context.log_event(
        dg.AssetObservation(
            key(site.name, "deployment"),
            description=f"{done}: {'BAD' if bad else 'good'}",
            metadata={
                **findings_metadata(found),
                "models": table(serving.model_lines(deployments.model_rows(site))),
            },
        )
    )
    if bad:
        raise dg.Failure(
            f"{bad[0].subject}: {bad[0].message}", metadata=findings_metadata(found), allow_retries=False
        )


@dg.job(
    executor_def=dg.in_process_executor, description="Ask the models of a stack, so that they are loaded."
)
def warm_models() -> None:
    """One model, or all of a stack."""
    ask_models()


@dg.job(executor_def=dg.in_process_executor, description="Bring a model into memory.")
def load_model() -> None:
    """One model of one stack."""
    load_into_memory()


@dg.job(executor_def=dg.in_process_executor, description="Let a model go from memory.")
def unload_model() -> None:
    """One model of one stack."""
    unload_from_memory()


MODEL_JOBS = [warm_models, load_model, unload_model]
