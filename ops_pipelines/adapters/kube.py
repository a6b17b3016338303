"""A Kubernetes API server over HTTP: objects as plain mappings, its refusals as errors of this project.

The `kubernetes` package is not used: its import alone takes longer than a deploy that changes nothing may
(docs/decisions/0030-the-api-server-over-http.md).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Lock
from typing import Any

import httpx

from ops_pipelines.adapters import _http
from ops_pipelines.adapters._kube_objects import DryRun, Object, Resource, noted, owners_in
from ops_pipelines.adapters._kubeconfig import Access
from ops_pipelines.errors import ClusterRefused, OpsError, Unreachable

_TIMEOUT = 20.0
_ANSWER = 300.0
"""Seconds that a pod may be silent while it answers: a model loads, or writes."""
_PAGE = 500
_AGAIN = (429, 500, 502, 503, 504)
_TRIES = 4
_WORKERS = 8
_MANAGER = "helm"
"""Who Helm is to the API server: what it would own is what it owns."""
_OURS = "ops-pipelines"


@dataclass
class Cluster:
    """One API server, as one user."""

    access: Access
    _http: httpx.Client | None = field(default=None, repr=False)
    _kinds: dict[str, dict[str, Resource] | None] = field(default_factory=dict, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)
    _headers: dict[str, str] | None = field(default=None, repr=False)
    _date: str = field(default="", repr=False)

    @property
    def name(self) -> str:
        """How a person names it."""
        return f"the cluster of context {self.access.context}"

    # --- questions ---

    def now(self) -> datetime:
        """The server's clock (UTC, whole seconds) at its last answer; ours where it gave none yet."""
        try:
            return parsedate_to_datetime(self._date).astimezone(UTC)
        except (ValueError, TypeError):
            return datetime.now(UTC)

    def version(self) -> str:
        """Its version, `1.34.4`. Raises Unreachable, ClusterRefused."""
        return str(self.get("/version").get("gitVersion", "")).lstrip("v")

    def get(self, path: str, **params: str) -> Object:
        """One answer. Raises ClusterRefused (`code` 404 where it is not there), Unreachable."""
        return self._asked("GET", path, params=params)

    def find(self, path: str, **params: str) -> Object | None:
        """The same; None where it is not there."""
        try:
            return self.get(path, **params)
        except ClusterRefused as error:
            if error.code == 404:
                return None
            raise

    def listed(self, path: str, *, brief: bool = False, **params: str) -> list[Object]:
        """Every object of a collection, page by page; `brief` asks for names, labels and annotations alone."""
        kind = (
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
            if brief
            else "application/json"
        )
        while True:
            found: list[Object] = []
            token = ""
            try:
                while True:
                    more = {"continue": token} if token else {}
                    page = self._asked(
                        "GET", path, params={**params, "limit": str(_PAGE), **more}, headers={"Accept": kind}
                    )
                    found += page.get("items") or []
                    token = str((page.get("metadata") or {}).get("continue") or "")
                    if not token:
                        return found
            except ClusterRefused as error:
                if error.code != 410 or not token:  # the list grew too old while it was read: from the start
                    raise

    def resources(self, api_version: str) -> Mapping[str, Resource] | None:
        """Kind -> how it is addressed, of one version of an API; None where the server does not have it."""
        with self._lock:
            if api_version in self._kinds:
                return self._kinds[api_version]
        path = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
        found = self.find(path)
        kinds = None
        if found is not None:
            kinds = {
                str(one["kind"]): Resource(path, str(one["name"]), bool(one["namespaced"]))
                for one in found.get("resources") or ()
                if "/" not in str(one["name"])
            }
        with self._lock:
            self._kinds[api_version] = kinds
        return kinds

    def resource(self, api_version: str, kind: str) -> Resource | None:
        """How objects of a kind are addressed; None where the server does not know it."""
        return (self.resources(api_version) or {}).get(kind)

    def path_of(self, found: Mapping[str, Any], namespace: str) -> str | None:
        """Path of an object; None where the server does not know its kind."""
        known = self.resource(str(found.get("apiVersion", "")), str(found.get("kind", "")))
        meta = found.get("metadata") or {}
        return known.at(meta.get("namespace") or namespace, str(meta.get("name"))) if known else None

    def try_all(self, objects: Sequence[Mapping[str, Any]], namespace: str, release: str) -> list[DryRun]:
        """What applying each object would make of it, in their order; nothing is kept.

        `release` is what Helm notes on what it applies."""
        self._know({str(one.get("apiVersion", "")) for one in objects})
        return self._side_by_side(lambda one: self._try(noted(one, namespace, release), namespace), objects)

    def look_all(self, objects: Sequence[Mapping[str, Any]], namespace: str) -> list[Object | None]:
        """Each object as it is now; None where it is not there, or the server does not know its kind."""
        self._know({str(one.get("apiVersion", "")) for one in objects})

        def look(one: Mapping[str, Any]) -> Object | None:
            path = self.path_of(one, namespace)
            return self.find(path) if path else None

        return self._side_by_side(look, objects)

    def may(self, verb: str, group: str, resource: str, namespace: str | None, subresource: str = "") -> bool:
        """Whether we have a right (SelfSubjectAccessReview)."""
        asked = {"verb": verb, "group": group, "resource": resource}
        asked |= {"namespace": namespace} if namespace else {}
        asked |= {"subresource": subresource} if subresource else {}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": asked},
        }
        done = self._asked("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", json=body)
        return bool((done.get("status") or {}).get("allowed"))

    def may_all(self, asked: Sequence[tuple[str, str, str, str | None, str]]) -> list[bool]:
        """The same of many: (verb, group, resource, namespace, subresource)."""
        return self._side_by_side(lambda one: self.may(one[0], one[1], one[2], one[3], one[4]), asked)

    # --- changes ---

    def create(self, path: str, body: Mapping[str, Any]) -> Object:
        """Make an object in a collection. Raises ClusterRefused (`code` 409 where it is there)."""
        return self._asked("POST", path, json=body)

    def replace(self, path: str, body: Mapping[str, Any]) -> Object:
        """Write an object that was read before. Raises ClusterRefused (`code` 409 where it changed since)."""
        return self._asked("PUT", path, json=body)

    def merge(self, path: str, patch: Mapping[str, Any]) -> Object:
        """Change some fields of an object."""
        return self._asked(
            "PATCH", path, content=json.dumps(patch), headers={"Content-Type": "application/merge-patch+json"}
        )

    def apply(self, wanted: Mapping[str, Any], namespace: str, release: str | None = None) -> Object:
        """Make or change an object by server-side apply, taking over fields of others: as Helm does it for `release`,
        so that Helm owns it, else in our own name. Raises ClusterRefused, Unreachable."""
        path = self.path_of(wanted, namespace)
        if path is None:
            raise Unreachable(
                f"{self.name} does not know {wanted.get('kind')} of {wanted.get('apiVersion')}",
                remedy="install what brings it",
            )
        marked = noted(wanted, namespace, release) if release is not None else wanted
        return self._apply(path, marked, force=True, dry=False, manager=_MANAGER if release else _OURS)

    def delete(self, path: str, *, uid: str | None = None) -> None:
        """Remove an object; one that is not there, or that is another one by now (`uid`), is nothing."""
        body = {"propagationPolicy": "Background", **({"preconditions": {"uid": uid}} if uid else {})}
        try:
            self._asked("DELETE", path, json=body)
        except ClusterRefused as error:
            if error.code not in (404, 409):
                raise

    # --- pods ---

    def ask_pod(self, namespace: str, pod: str, port: int, path: str) -> None:
        """Ask a pod over HTTP, through the server. Raises ClusterRefused where it does not answer well."""
        self._send("GET", f"/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/{path.lstrip('/')}")

    # --- logs ---

    def log_tail(
        self, namespace: str, pod: str, container: str, lines: int = 30, *, previous: bool = False
    ) -> str:
        """The end of what a container printed; empty where it printed nothing or has not started."""
        params = {
            "container": container,
            "tailLines": str(lines),
            **({"previous": "true"} if previous else {}),
        }
        try:
            response = self._send("GET", f"/api/v1/namespaces/{namespace}/pods/{pod}/log", params=params)
        except OpsError:
            return ""
        return response.text

    def follow(
        self,
        namespace: str,
        pod: str,
        container: str,
        *,
        lines: int,
        follow: bool,
        quiet: float | None = None,
    ) -> Iterator[str]:
        """Lines that a container prints, until it ends where `follow`. Raises Unreachable (also after so many seconds
        `quiet`), ClusterRefused."""
        params = {"container": container, "tailLines": str(lines), "follow": str(follow).lower()}
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        try:
            with self._client().stream(
                "GET", path, params=params, headers=self._who(), timeout=httpx.Timeout(_TIMEOUT, read=quiet)
            ) as response:
                if not response.is_success:
                    response.read()
                    raise self._no(response, "GET", path)
                yield from response.iter_lines()
        except httpx.HTTPError as error:
            raise self._away(error) from error

    @contextmanager
    def open_stream(
        self, method: str, path: str, *, headers: Mapping[str, str], content: bytes
    ) -> Iterator[httpx.Response]:
        """One request whose answer, whatever its status, is read as it comes. Raises Unreachable."""
        try:
            with self._client().stream(
                method,
                path,
                headers={**headers, **self._who()},
                content=content,
                timeout=httpx.Timeout(_TIMEOUT, read=_ANSWER),
            ) as response:
                yield response
        except httpx.HTTPError as error:
            raise self._away(error) from error

    # --- the wire ---

    def _try(self, wanted: Mapping[str, Any], namespace: str) -> DryRun:
        path = self.path_of(wanted, namespace)
        if path is None:
            words = f"the cluster does not know {wanted.get('kind')} of {wanted.get('apiVersion')}"
            return DryRun(None, None, words, 404)
        live = self.find(path)
        owners: tuple[str, ...] = ()
        try:
            try:
                after = self._apply(path, wanted, force=False)
            except ClusterRefused as error:
                if error.code != 409 or live is None:
                    raise
                owners = owners_in(error.said)
                after = self._apply(path, wanted, force=True)
        except ClusterRefused as error:
            return DryRun(live, None, error.said or error.message, error.code, owners)
        return DryRun(live, after, owners=owners)

    def _apply(
        self, path: str, wanted: Mapping[str, Any], *, force: bool, dry: bool = True, manager: str = _MANAGER
    ) -> Object:
        params = {"fieldManager": manager, "force": str(force).lower(), **({"dryRun": "All"} if dry else {})}
        return self._asked(
            "PATCH",
            path,
            params=params,
            content=json.dumps(wanted),  # which is YAML
            headers={"Content-Type": "application/apply-patch+yaml"},
        )

    def _know(self, api_versions: Iterable[str]) -> None:
        self._side_by_side(self.resources, sorted(api_versions))

    def _side_by_side(self, work: Any, items: Sequence[Any]) -> list[Any]:
        if len(items) < 2:
            return [work(one) for one in items]
        with ThreadPoolExecutor(min(_WORKERS, len(items))) as pool:
            return list(pool.map(work, items))

    def _asked(self, method: str, path: str, **kwargs: Any) -> Object:
        found: Object = self._send(method, path, **kwargs).json()
        return found

    def _send(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        """Send one request, again where the server is busy or just starting, or a question got no answer."""
        more = kwargs.pop("headers", None) or {}
        for attempt in range(1, _TRIES + 1):
            last = attempt == _TRIES
            try:
                response = self._client().request(method, path, headers={**self._who(), **more}, **kwargs)
            except httpx.HTTPError as error:
                if last or method != "GET":
                    raise self._away(error) from error
            else:
                self._date = response.headers.get("date", "")
                if response.is_success:
                    return response
                if response.status_code == 401 and not last and self._renewed():
                    continue
                if last or response.status_code not in _AGAIN:
                    raise self._no(response, method, path)
            time.sleep(0.1 * 2**attempt)
        raise AssertionError("unreachable")

    def _client(self) -> httpx.Client:
        with self._lock:
            if self._http is None:
                self._http = _http.client(
                    self.access.server, timeout=_TIMEOUT, verify=self.access.tls(), proxy=self.access.proxy
                )
            return self._http

    def _who(self) -> dict[str, str]:
        with self._lock:
            if self._headers is None:
                self._headers = self.access.headers()
            return self._headers

    def _renewed(self) -> bool:
        """Whether credentials can be had anew that are other ones: tokens expire."""
        with self._lock:
            before, self._headers = self._headers, self.access.headers()
            return self._headers != before

    def _away(self, error: httpx.HTTPError) -> Unreachable:
        return Unreachable(
            f"{self.name} ({self.access.server}) does not answer ({error or type(error).__name__})",
            remedy="is it up, and reachable from here? Look at target.context and its kubeconfig",
        )

    def _no(self, response: httpx.Response, method: str, path: str) -> ClusterRefused:
        try:
            status = response.json()
        except ValueError:
            status = {}
        status = status if isinstance(status, dict) else {}
        said, reason = str(status.get("message") or response.text[:300]), str(status.get("reason", ""))
        code = response.status_code
        remedies = {
            401: f"log in anew: the credentials of context {self.access.context} have expired, or are none",
            403: "give this user the right (docs/reference/kubernetes-rights.md lists all that are needed)",
            409: "somebody else changed it meanwhile: look who, then say it again",
        }
        said = said or f"{method} {path}"
        words = f"{self.name} answered {code}{f' ({reason})' if reason else ''}: {said}"
        return ClusterRefused(
            words, remedy=remedies.get(code, "mend what it says"), code=code, reason=reason, said=said
        )
