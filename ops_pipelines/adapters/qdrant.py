"""One Qdrant server, over its REST API: snapshots of a collection, and aliases.

https://github.com/qdrant/qdrant, docs/redoc/v1.16.x/openapi.json. An alias is moved by one request that the server
carries out as one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from ops_pipelines.adapters._http import client, request
from ops_pipelines.errors import PartFailed, Refused, Unreachable
from ops_pipelines.policy.qdrant_collections import CollectionShape

_REMEDY = "look whether Qdrant runs and can be reached from here, and check the API key"


@dataclass(frozen=True)
class Qdrant:
    """A Qdrant server."""

    address: str
    api_key: str | None = field(default=None, repr=False)
    timeout: float = 6 * 3600.0
    """Seconds that one snapshot may take to be made or recovered."""

    @property
    def at(self) -> str:
        """How a person names it."""
        return f"Qdrant at {self.address}"

    def version(self) -> str:
        """Version of the server."""
        return str(self._json("GET", "/")["version"])

    def nodes(self) -> int:
        """How many nodes it is made of; 1 where it is not distributed."""
        return len(self._result("GET", "/cluster").get("peers") or {}) or 1

    def collections(self) -> tuple[str, ...]:
        """Names of all collections."""
        found = self._result("GET", "/collections")["collections"]
        return tuple(sorted(str(one["name"]) for one in found))

    def aliases(self) -> Mapping[str, str]:
        """Alias -> collection."""
        found = self._result("GET", "/aliases")["aliases"]
        return {str(one["alias_name"]): str(one["collection_name"]) for one in found}

    def shape(self, name: str) -> CollectionShape:
        """How a collection is made."""
        found = self._result("GET", f"/collections/{_quoted(name)}")
        payload = {key: str(one["data_type"]) for key, one in (found.get("payload_schema") or {}).items()}
        return CollectionShape(found["config"]["params"], payload, str(found["status"]))

    def count(self, name: str) -> int:
        """Points of a collection, counted."""
        path = f"/collections/{_quoted(name)}/points/count"
        return int(self._result("POST", path, json={"exact": True}, timeout=600.0)["count"])

    def snapshot(self, name: str, path: Path, progress: Callable[[int, int | None], None]) -> None:
        """Have a snapshot made, bring it here, compare its checksum, and remove it from the server.

        Raises PartFailed where what came is not what the server made."""
        base = f"/collections/{_quoted(name)}/snapshots"
        made = self._result("POST", base, params={"wait": "true"}, timeout=self.timeout)
        where = f"{base}/{_quoted(str(made['name']))}"
        try:
            digest = self._download(where, path, lambda done: progress(done, made.get("size")))
        finally:
            self._result("DELETE", where, params={"wait": "true"})
        if (made.get("size") or path.stat().st_size) != path.stat().st_size:
            raise PartFailed(
                f"{self.at} sent {path.stat().st_size} bytes of a snapshot of {made['size']}",
                remedy="try again",
            )
        if made.get("checksum") not in (None, digest):
            raise PartFailed(
                f"{self.at} made a snapshot with checksum {made['checksum']}, and what came has {digest}",
                remedy="try again; look at the server's disk",
            )

    def leftover_snapshots(self, name: str) -> tuple[str, ...]:
        """Snapshots of a collection that lie on the server."""
        return tuple(
            str(one["name"]) for one in self._result("GET", f"/collections/{_quoted(name)}/snapshots")
        )

    def recover(self, name: str, path: Path, sha256: str) -> None:
        """Make a collection of a snapshot, whose digest the server checks."""
        with path.open("rb") as file:
            self._result(
                "POST",
                f"/collections/{_quoted(name)}/snapshots/upload",
                params={"wait": "true", "priority": "snapshot", "checksum": sha256},
                files={"snapshot": (path.name, file, "application/octet-stream")},
                timeout=self.timeout,
            )

    def delete(self, name: str) -> None:
        """Delete a collection; one that is not there is nothing."""
        self._result("DELETE", f"/collections/{_quoted(name)}", timeout=600.0)

    def point(self, aliases: Mapping[str, str], there: Sequence[str]) -> None:
        """Make aliases lead to collections, all at once; those that are `there` are moved."""
        actions: list[dict[str, Any]] = [
            {"delete_alias": {"alias_name": alias}} for alias in aliases if alias in there
        ]
        actions += [
            {"create_alias": {"alias_name": alias, "collection_name": name}}
            for alias, name in aliases.items()
        ]
        self._result("POST", "/collections/aliases", json={"actions": actions})

    # --- the wire ---

    def _download(self, where: str, path: Path, progress: Callable[[int], None]) -> str:
        digest, done = hashlib.sha256(), 0
        try:
            with self._client(300.0) as http, http.stream("GET", where) as answer, path.open("wb") as file:
                if not answer.is_success:
                    raise Refused(f"{self.at} answered {answer.status_code} to a download", remedy=_REMEDY)
                for piece in answer.iter_bytes(1 << 20):
                    file.write(piece)
                    digest.update(piece)
                    done += len(piece)
                    progress(done)
        except httpx.HTTPError as error:
            words = str(error) or type(error).__name__
            raise Unreachable(f"{self.at} does not answer ({words})", remedy=_REMEDY) from error
        return digest.hexdigest()

    def _result(self, method: str, path: str, *, timeout: float = 60.0, **words: Any) -> Any:
        return self._json(method, path, timeout=timeout, **words)["result"]

    def _json(self, method: str, path: str, *, timeout: float = 60.0, **words: Any) -> Any:
        with self._client(timeout) as http:
            return request(http, method, path, what=self.at, remedy=_REMEDY, **words).json()

    def _client(self, timeout: float) -> httpx.Client:
        headers = {"api-key": self.api_key} if self.api_key is not None else {}
        return client(self.address, timeout=timeout, headers=headers)


def _quoted(word: str) -> str:
    return quote(word, safe="")
