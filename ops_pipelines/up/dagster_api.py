"""What `up` asks of the Dagster webserver: is everything loaded, launch this, how far is it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ops_pipelines.adapters import _http
from ops_pipelines.errors import OpsError, Refused

LOCATION = "ops_pipelines"
_REMEDY = "see the logs in the supervisor folder of the home folder (ops.dagster-*.log)"
_NOT_YET = "DagsterUserCodeUnreachableError"

_LOCATIONS = """
{ workspaceOrError { ... on Workspace { locationEntries { name loadStatus locationOrLoadError {
    __typename ... on PythonError { message className errorChain { error { message } } } } } } } }
"""
_DAEMONS = "{ instance { daemonHealth { allDaemonStatuses { healthy required lastHeartbeatTime } } } }"
_UNFINISHED = """
{ runsOrError(filter: {statuses: [QUEUED, NOT_STARTED, MANAGED, STARTING, STARTED, CANCELING]}) {
    ... on Runs { results { runId status tags { key value } } } ... on PythonError { message } } }
"""
_CANCEL = """
mutation Cancel($runs: [String!]!) {
  terminateRuns(runIds: $runs, terminatePolicy: MARK_AS_CANCELED_IMMEDIATELY) {
    ... on PythonError { message }
    ... on TerminateRunsResult { terminateRunResults { __typename ... on PythonError { message } } } } }
"""
_LAUNCH = """
mutation Launch($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } }
  ... on PythonError { message } ... on RunConfigValidationInvalid { errors { message } }
  ... on InvalidSubsetError { message } ... on PresetNotFoundError { message } } }
"""
_RUN = """
query Run($id: ID!, $cursor: String) {
  runOrError(runId: $id) { ... on Run { status } }
  logsForRun(runId: $id, afterCursor: $cursor) { ... on EventConnection { cursor events {
    __typename ... on MessageEvent { message stepKey }
    ... on ExecutionStepFailureEvent { failureMetadata { description }
      error { message errorChain { error { message } } } } } } } }
"""


class RunFailed(OpsError):
    """A run that `up` launched failed."""


class LocationBroken(Refused):
    """The code location cannot be loaded; waiting does not help."""


@dataclass(frozen=True)
class Unfinished:
    """A run that has not ended."""

    id: str
    status: str
    tags: Mapping[str, str]

    @property
    def waiting(self) -> bool:
        """Whether it waits in the queue, and so was not begun."""
        return self.status == "QUEUED"


class Dagster:
    """A webserver, over GraphQL."""

    def __init__(self, url: str, *, within: float = 30.0) -> None:
        """`within`: seconds that an answer may take."""
        self._url, self._within = url, within

    def ask(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Answer of one query. Raises Unreachable, Refused."""
        with _http.client(self._url, timeout=self._within) as http:
            answer = _http.request(
                http,
                "POST",
                "/graphql",
                json={"query": query, "variables": dict(variables or {})},
                what="Dagster's webserver",
                remedy=_REMEDY,
            ).json()
        if answer.get("errors"):
            raise Refused(f"Dagster refused a query: {answer['errors'][0]['message']}", remedy=_REMEDY)
        data: dict[str, Any] = answer["data"]
        return data

    def loaded(self) -> bool:
        """Whether the code location is loaded. Raises LocationBroken where it cannot be."""
        entries = self.ask(_LOCATIONS)["workspaceOrError"].get("locationEntries", [])
        for entry in entries:
            found = entry["locationOrLoadError"]
            if found and found["__typename"] == "PythonError" and found["className"] != _NOT_YET:
                raise LocationBroken(
                    f"the stacks' definitions do not load: {words_of(found)}", remedy=_REMEDY
                )
        return bool(entries) and all(
            entry["loadStatus"] == "LOADED"
            and entry["locationOrLoadError"]
            and entry["locationOrLoadError"]["__typename"] != "PythonError"
            for entry in entries
        )

    def daemons_healthy(self, since: float) -> bool:
        """Whether every daemon that is needed was heard of since then (seconds since 1970), and is well."""
        statuses = self.ask(_DAEMONS)["instance"]["daemonHealth"]["allDaemonStatuses"]
        return all(
            one["healthy"] and (one["lastHeartbeatTime"] or 0.0) >= since
            for one in statuses
            if one["required"]
        )

    def unfinished(self) -> tuple[Unfinished, ...]:
        """Every run that has not ended, newest first."""
        answer = self.ask(_UNFINISHED)["runsOrError"]
        if "results" not in answer:
            raise Refused(f"Dagster does not list its runs: {answer.get('message')}", remedy=_REMEDY)
        return tuple(
            Unfinished(one["runId"], one["status"], {tag["key"]: tag["value"] for tag in one["tags"]})
            for one in answer["results"]
        )

    def cancel(self, runs: Sequence[str]) -> None:
        """Mark runs as canceled that nobody carries out any more. Raises Refused where one is not."""
        answer = self.ask(_CANCEL, {"runs": list(runs)})["terminateRuns"]
        results = answer.get("terminateRunResults", [answer])
        if bad := [one for one in results if one.get("__typename") != "TerminateRunSuccess"]:
            raise Refused(
                f"Dagster did not cancel {len(bad)} of {len(runs)} runs: {bad[0].get('message', bad[0])}",
                remedy=_REMEDY,
            )

    def launch(
        self,
        assets: Sequence[Sequence[str]],
        config: Mapping[str, Any],
        *,
        checks: Sequence[tuple[Sequence[str], str]] = (),
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Launch a run of Dagster's own asset job and return its id; without `checks`, all that the assets have.

        Raises Refused with the reason.
        """
        selector = {
            "repositoryLocationName": LOCATION,
            "repositoryName": "__repository__",
            "jobName": "__ASSET_JOB",
            "assetSelection": [{"path": list(path)} for path in assets],
            "assetCheckSelection": [{"assetKey": {"path": list(path)}, "name": name} for path, name in checks]
            or None,
        }
        params = {
            "selector": selector,
            "runConfigData": dict(config),
            "mode": "default",
            "executionMetadata": {
                "tags": [{"key": key, "value": value} for key, value in (tags or {}).items()]
            },
        }
        answer = self.ask(_LAUNCH, {"params": params})["launchRun"]
        if answer["__typename"] != "LaunchRunSuccess":
            words = answer.get("message") or str(answer.get("errors", answer["__typename"]))
            raise Refused(f"Dagster did not launch the run: {words}", remedy=_REMEDY)
        run_id: str = answer["run"]["runId"]
        return run_id

    def follow(self, run: str, cursor: str | None) -> tuple[str, str | None, list[dict[str, Any]]]:
        """(status, cursor, new events) of a run."""
        answer = self.ask(_RUN, {"id": run, "cursor": cursor})
        logs = answer["logsForRun"]
        return answer["runOrError"]["status"], logs.get("cursor"), logs.get("events", [])


def words_of(error: Mapping[str, Any]) -> str:
    """The message of an error and of those behind it, the cause of all last."""
    chain = [link["error"]["message"] for link in error.get("errorChain") or ()]
    lines = [str(message).strip() for message in (error["message"], *chain)]
    return "\n".join(dict.fromkeys(line for line in lines if line))
