"""Jobs by which a person does on the pages what `down`, `scale`, `test`, `logs` and `build` do on the command line."""

from collections.abc import Sequence

import dagster as dg
from pydantic import Field

from ops_pipelines.defs.metadata import findings_metadata, plan_metadata, plan_text
from ops_pipelines.defs.names import key
from ops_pipelines.defs.running import FLEET, failures, site_of
from ops_pipelines.errors import CommandFailed, UsageError
from ops_pipelines.policy.plan import failed
from ops_pipelines.wiring import deployments


class DownConfig(dg.Config):
    """What is taken down."""

    stack: str = Field(description="Name of the stack.")
    apply: bool = Field(default=False, description="Stop and remove what runs. Off: show what that would be.")
    volumes: bool = Field(default=False, description="Remove its volumes too, with all that is in them.")
    confirm: str = Field(
        default="", description="To remove volumes: the name of the stack once more, typed by hand."
    )


class ReplicasConfig(dg.Config):
    """How many replicas a component is to have."""

    stack: str = Field(description="Name of the stack.")
    component: str = Field(description="Name of the component.")
    replicas: int = Field(description="Replicas that it is to have.", ge=0)


class SmokeConfig(dg.Config):
    """What is asked."""

    stack: str = Field(description="Name of the stack.")


class LogsConfig(dg.Config):
    """Whose logs are shown."""

    stack: str = Field(description="Name of the stack.")
    component: str = Field(default="", description="One component. Empty: all.")
    lines: int = Field(default=200, description="Lines of each log.", ge=1, le=10_000)


class BuildConfig(dg.Config):
    """What is built."""

    stack: str = Field(description="Name of the stack.")
    components: list[str] = Field(default=[], description="Components. None: all that have a build section.")


@dg.op(
    required_resource_keys={FLEET},
    description="Stop a stack and remove what runs of it; data stays unless asked.",
)
def take_stack_down(context: dg.OpExecutionContext, config: DownConfig) -> None:
    """A dry run unless `apply` is set; with `volumes`, only where the stack's name was typed in."""
    with failures():
        site = site_of(context, config.stack)
        if config.apply and config.volumes and config.confirm != site.name:
            raise UsageError(
                f"the volumes of {site.name}, with all that is in them, are removed only where `confirm` is its name",
                remedy=f"look at the plan without `apply`, take a snapshot, then set `confirm: {site.name}`",
            )
        act = deployments.down if config.apply else deployments.down_plan
        plan = act(site, volumes=config.volumes)
    context.log.info(plan_text(plan))
    done = "taken down" if config.apply else "dry run of taking it down: nothing was changed"
    context.log_event(
        dg.AssetObservation(key(site.name, "deployment"), description=done, metadata=plan_metadata(plan))
    )


@dg.op(required_resource_keys={FLEET}, description="Bring one component to a number of replicas, by hand.")
def bring_replicas(context: dg.OpExecutionContext, config: ReplicasConfig) -> None:
    """Refused where somebody else decides on its replicas."""
    with failures():
        site = site_of(context, config.stack)
        deployments.set_replicas(site, config.component, config.replicas)
    context.log_event(
        dg.AssetObservation(
            key(site.name, "deployment"),
            description=f"{config.component} has {config.replicas} replicas",
            metadata={"component": config.component, "replicas": config.replicas},
        )
    )


@dg.op(
    required_resource_keys={FLEET}, description="Ask every replica its health, then the declared smoke test."
)
def ask_stack(context: dg.OpExecutionContext, config: SmokeConfig) -> None:
    """Fails where an answer is not good, or could not be had."""
    with failures():
        site = site_of(context, config.stack)
        deployments.require_supported(site)
        findings = (*deployments.health_findings(site), *deployments.smoke(site))
        if not findings:
            raise UsageError(
                f"{site.name} declares nothing that could be asked", remedy="add components, or `smoke:`"
            )
    found = findings_metadata(findings)
    bad = failed(findings)
    words = (
        f"{len(bad)} of {len(findings)} answers are not good" if bad else f"{len(findings)} answers, all good"
    )
    context.log_event(dg.AssetObservation(key(site.name, "deployment"), description=words, metadata=found))
    if bad:
        raise dg.Failure(f"{words}: {bad[0].subject}: {bad[0].message}", metadata=found, allow_retries=False)


@dg.op(
    required_resource_keys={FLEET}, description="Show the end of what a stack prints: on the run's stdout."
)
def print_logs(context: dg.OpExecutionContext, config: LogsConfig) -> None:
    """Nothing is changed."""
    with failures():
        site = site_of(context, config.stack)
        status = deployments.logs(site, config.component or None, lines=config.lines, follow=False)
        _require(status, "showing the logs")
    context.log.info("the logs are on this run's page, under stdout")


@dg.op(required_resource_keys={FLEET}, description="Build the images that a stack makes from Dockerfiles.")
def build_stack_images(context: dg.OpExecutionContext, config: BuildConfig) -> None:
    """What is built is printed on the run's stdout and stderr."""
    with failures():
        site = site_of(context, config.stack)
        _require(deployments.build(site, config.components), "the build")


@dg.job(
    executor_def=dg.in_process_executor,
    description="Stop a stack and remove what runs of it; its data stays.",
)
def take_down() -> None:
    """One stack."""
    take_stack_down()


@dg.job(
    executor_def=dg.in_process_executor, description="Bring a component of a stack to a number of replicas."
)
def set_replicas() -> None:
    """One component of one stack."""
    bring_replicas()


@dg.job(executor_def=dg.in_process_executor, description="Ask a stack what it must be able to answer.")
def smoke_test() -> None:
    """One stack."""
    ask_stack()


@dg.job(executor_def=dg.in_process_executor, description="Show what a stack prints, on the run's stdout.")
def show_logs() -> None:
    """One stack, or a component of it."""
    print_logs()


@dg.job(executor_def=dg.in_process_executor, description="Build the images of a stack from its Dockerfiles.")
def build_images() -> None:
    """One stack."""
    build_stack_images()


JOBS: Sequence[dg.JobDefinition] = [take_down, set_replicas, smoke_test, show_logs, build_images]


def _require(status: int, what: str) -> None:
    if status:
        raise CommandFailed(f"{what} ended with status {status}", remedy="see stdout and stderr of this run")
