"""One sensor decides for the whole fleet, and says what has changed since it last looked."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import structlog

from ops_pipelines.defs import names
from ops_pipelines.defs.jobs import apply_scaling
from ops_pipelines.defs.scaling import decision_events, scale_config
from ops_pipelines.errors import OpsError
from ops_pipelines.policy.readings import Decision
from ops_pipelines.wiring import scaling
from ops_pipelines.wiring.deployments import supported
from ops_pipelines.wiring.site import Fleet, Site

log = structlog.get_logger()

_SAY_AGAIN = timedelta(minutes=15)
_WORKERS = 8


@dataclass(frozen=True)
class _Look:
    """What one look at one rule came to."""

    site: Site
    name: str
    decision: Decision | None
    why: str
    """Why there is no decision."""

    @property
    def rule(self) -> str:
        return f"{self.site.name}/{self.name}"

    @property
    def at(self) -> datetime:
        return self.decision.at if self.decision else datetime.now(UTC)

    @property
    def state(self) -> list[Any]:
        """What makes it another decision than the one before. The readings themselves do not: they always move."""
        if self.decision is None:
            return [None, None, self.why]
        unknown = sorted(one.signal for one in self.decision.opinions if one.replicas is None)
        return [self.decision.current, self.decision.wanted, unknown]


def scaling_sensor(fleet: Fleet) -> dg.SensorDefinition:
    """Reads, decides, records; starts `apply_scaling` for rules in mode `auto`."""
    rules = [
        (site, name)
        for site in fleet.sites()
        if supported(site)
        for name, rule in site.stack.scaling.items()
        if rule.owner == "ops-pipelines"
    ]

    @dg.sensor(
        name="fleet_scaling",
        jobs=[apply_scaling],
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Reads the signals of every stack, decides, records the decision; applies it in mode auto.",
    )
    def fleet_scaling(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        before: dict[str, Any] = json.loads(context.cursor or "{}")
        with ThreadPoolExecutor(_WORKERS) as pool:
            looks = list(pool.map(_look, rules))
        news = [look for look in looks if _worth_saying(before.get(look.rule), look)]
        said = {look.rule: {"state": look.state, "at": look.at.isoformat()} for look in news}
        requests = [request for look in news if (request := _request(look)) is not None]
        return dg.SensorResult(
            asset_events=[
                event
                for look in news
                for event in decision_events(look.site, look.name, look.decision, look.why)
            ],
            run_requests=requests,
            cursor=json.dumps(
                {look.rule: said.get(look.rule, before.get(look.rule)) for look in looks}, sort_keys=True
            ),
            skip_reason=None if requests else _summary(looks, news),
        )

    return fleet_scaling


def _look(rule: tuple[Site, str]) -> _Look:
    site, name = rule
    try:
        decision = scaling.evaluate(site, name)
    except OpsError as error:
        log.warning("scaling.failed", stack=site.name, rule=name, error=error.message)
        return _Look(site, name, None, error.message)
    except Exception as error:  # one stack's fault must not stop the others' scaling
        log.exception("scaling.fault", stack=site.name, rule=name)
        return _Look(
            site, name, None, f"a fault in ops-pipelines ({type(error).__name__}); see the daemon's log"
        )
    return _Look(site, name, decision, "" if decision else "how many replicas there are is unknown")


def _worth_saying(before: dict[str, Any] | None, look: _Look) -> bool:
    """True for another state than the one said last, and for the same once in a while."""
    if before is None or before["state"] != look.state:
        return True
    return look.at - datetime.fromisoformat(before["at"]) >= _SAY_AGAIN


def _request(look: _Look) -> dg.RunRequest | None:
    decision, rule = look.decision, look.site.stack.scaling[look.name]
    if decision is None or not decision.changes or rule.mode != "auto":
        return None
    return dg.RunRequest(
        run_key=f"{look.rule}/{decision.at.isoformat()}",
        run_config=scale_config(look.site, look.name, decision),
        tags=names.tags(look.site.name),
    )


def _summary(looks: list[_Look], news: list[_Look]) -> dg.SkipReason:
    unknown = sum(1 for look in looks if look.decision is None)
    words = f"{len(looks)} rules looked at, {len(news)} with news"
    return dg.SkipReason(words + (f", {unknown} unknown" if unknown else ""))
