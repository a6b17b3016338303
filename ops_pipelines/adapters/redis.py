"""One Redis server: its save over the network, and keys that come back beside the live ones.

A logical database that is filled carries a mark: a hash under one key, which says for whom. What carries
none is nobody's business here.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops_pipelines.adapters import _redis_sync
from ops_pipelines.errors import OpsError, Refused, Unreachable
from ops_pipelines.policy.redis_saves import KINDS, MARK, Filled, RedisFacts, Stored

_BATCH, _BYTES = 1000, 4 << 20


@dataclass(frozen=True)
class Redis:
    """A Redis server and the user by which it is used."""

    host: str
    port: int
    user: str | None
    password: str | None = field(repr=False)
    tls: bool = False
    authority: Path | None = None
    """File of the authority that signed the server's certificate; None: those that the machine knows."""

    @property
    def at(self) -> str:
        """How a person names it."""
        return f"Redis at {self.host}:{self.port}"

    def facts(self) -> RedisFacts:
        """What the server says of itself."""
        with self._client(0, "ask its state") as client:
            info: Mapping[str, Any] = client.info()
            count = self._count(client)
        return RedisFacts(
            version=str(info.get("redis_version", "")),
            cluster=bool(info.get("cluster_enabled")),
            databases=count,
            used={int(name[2:]): Filled(one["keys"], one["expires"])
                  for name, one in info.items() if name.startswith("db") and isinstance(one, dict)},
            memory=int(info.get("used_memory", 0)),
            dataset=int(info.get("used_memory_dataset", 0)),
            limit=int(info.get("maxmemory", 0)) or int(info.get("total_system_memory", 0)),
        )  # fmt: skip

    def save(self, path: Path, progress: Callable[[int], None]) -> None:
        """Write the server's save, of one moment, to a file. Raises Refused, Unreachable."""
        words = [word for word in (self.user, self.password) if word is not None]
        credentials = words if self.password is not None else []
        tls = _context(self.authority, self.at) if self.tls else None
        _redis_sync.save(self.host, self.port, credentials=credentials, tls=tls, at=self.at, path=path,
                         progress=progress)  # fmt: skip

    def marks(self) -> Mapping[int, Mapping[str, str]]:
        """Marks by logical database."""
        found: dict[int, Mapping[str, str]] = {}
        for number in self.facts().used:
            with self._client(number, "look for marks") as client:
                mark = client.hgetall(MARK) if client.type(MARK) == b"hash" else {}
            if mark:
                found[number] = {key.decode(): value.decode() for key, value in mark.items()}
        return found

    def claim(self, number: int, mark: Mapping[str, str]) -> bool:
        """Mark an empty logical database. False where it is not empty, or somebody was faster."""
        from redis.exceptions import WatchError

        with (
            self._client(number, f"claim the logical database {number}") as client,
            client.pipeline() as work,
        ):
            work.watch(MARK)
            if work.dbsize():
                return False
            work.multi()
            work.hset(MARK, mapping=dict(mark))
            try:
                work.execute()
            except WatchError:
                return False
            return True

    def fill(self, number: int, keys: Iterable[Stored], counted: Callable[[int], None]) -> None:
        """Put keys into a logical database, each checked by the server. Raises Refused that names the first
        one that it does not take."""
        with self._client(number, "restore keys") as client:
            batch: list[Stored] = []
            size = done = 0
            for one in keys:
                batch.append(one)
                size += len(one.payload)
                if len(batch) >= _BATCH or size >= _BYTES:
                    self._send(client, batch)
                    done += len(batch)
                    counted(done)
                    batch, size = [], 0
            self._send(client, batch)

    def kinds(self, number: int) -> Iterator[tuple[bytes, str]]:
        """Each key that does not expire, with its type; the mark is left out."""
        with self._client(number, "compare keys") as client:
            expiring = client.info("keyspace").get(f"db{number}", {}).get("expires", 0)
            seen = 0
            for kind in KINDS:
                for keys in _scanned(client, _type=kind):
                    seen += len(keys)
                    for key in self._staying(client, keys) if expiring else keys:
                        if key != MARK.encode():
                            yield key, kind
            if seen < client.dbsize():  # the rest are modules' keys, whose types nobody can list
                for keys in _scanned(client):
                    staying = self._staying(client, keys)
                    work = client.pipeline(transaction=False)
                    for key in staying:
                        work.type(key)
                    for key, kind in zip(staying, work.execute(), strict=True):
                        if kind.decode() not in KINDS:
                            yield key, kind.decode()

    def swap(self, pairs: Mapping[int, int], before: Mapping[str, str], functions: Iterable[str]) -> None:
        """Exchange each live logical database with the one that was filled for it, and load functions: all at once.

        What was live keeps its content under the number of the other, with the mark `before`."""
        with self._client(0, "switch") as client:
            filled = {live: client.info("keyspace").get(f"db{live}") for live in pairs}
            work = client.pipeline(transaction=True)
            for code in functions:
                work.function_load(code, replace=True)
            for live, place in pairs.items():
                work.execute_command("SELECT", place)
                work.delete(MARK)
                if filled[live]:
                    work.execute_command("SELECT", live)
                    work.hset(MARK, mapping={**before, "of": str(live)})
                work.execute_command("SWAPDB", live, place)
            work.execute_command("SELECT", 0)
            work.execute()

    def empty(self, number: int, mark: Mapping[str, str]) -> None:
        """Empty a logical database, where it carries just this mark. Raises Refused where it has another one."""
        with (
            self._client(number, f"empty the logical database {number}") as client,
            client.pipeline() as work,
        ):
            work.watch(MARK)
            found = {key.decode(): value.decode() for key, value in work.hgetall(MARK).items()}
            if found != dict(mark):
                raise Refused(
                    f"the logical database {number} of {self.at} is no longer what a restore made",
                    remedy="look who uses it; empty it by hand if it is not needed",
                )
            work.multi()
            work.flushdb(asynchronous=True)
            work.execute()

    # --- connections ---

    @contextmanager
    def _client(self, number: int, doing: str) -> Iterator[Any]:  # the library types what it answers loosely
        import redis

        if self.tls:
            _context(self.authority, self.at)  # which says what is wrong with the file
        client = redis.Redis(
            host=self.host, port=self.port, db=number, username=self.user, password=self.password, ssl=self.tls,
            socket_connect_timeout=10, socket_timeout=120, protocol=2, ssl_check_hostname=True,
            ssl_ca_certs=None if self.authority is None else str(self.authority),
        )  # fmt: skip
        try:
            yield client
        except redis.exceptions.RedisError as error:
            raise self._explained(error, doing) from error
        finally:
            client.close()

    def _staying(self, client: Any, keys: Sequence[bytes]) -> list[bytes]:
        """Those of the keys that do not expire."""
        work = client.pipeline(transaction=False)
        for key in keys:
            work.pttl(key)
        return [key for key, left in zip(keys, work.execute(), strict=True) if left == -1]

    def _send(self, client: Any, batch: list[Stored]) -> None:
        if not batch:
            return
        work = client.pipeline(transaction=False)
        for one in batch:
            words: list[Any] = ["RESTORE", one.key, one.expires or 0, one.payload, "REPLACE"]
            words += ["ABSTTL"] if one.expires else []
            words += ["IDLETIME", one.idle] if one.idle is not None else []
            words += ["FREQ", one.frequency] if one.frequency is not None else []
            work.execute_command(*words)
        for one, answer in zip(batch, work.execute(raise_on_error=False), strict=True):
            if isinstance(answer, Exception):
                raise self._not_taken(one, answer)

    def _not_taken(self, one: Stored, error: Exception) -> OpsError:
        words, remedy = str(error), "mend what the server names, and restore again"
        if "version or checksum" in words:
            remedy = "restore into a server that is not older than the one that was saved"
        elif "OOM" in words:
            remedy = "raise its maxmemory: a restore stands beside the live keys until it is switched"
        name = one.key[:80].decode("utf-8", "backslashreplace")
        return Refused(f"{self.at} does not take the key {name!r}: {words}", remedy=remedy)

    def _count(self, client: Any) -> int:
        """How many logical databases there are."""
        from redis.exceptions import ResponseError

        try:
            return int(client.config_get("databases")["databases"])
        except (ResponseError, KeyError):  # not everybody may ask; 16 is what a server has unless it is told
            return 16

    def _explained(self, error: Exception, doing: str) -> OpsError:
        import redis

        words = str(error)
        if "CERTIFICATE_VERIFY_FAILED" in words:
            return _redis_sync.untrusted(self.at, words)
        if isinstance(error, redis.exceptions.AuthenticationError | redis.exceptions.NoPermissionError):
            return Refused(f"{self.at} refused to {doing}: {words}", remedy="check user, password and rights")
        if isinstance(error, redis.exceptions.ConnectionError | redis.exceptions.TimeoutError):
            return Unreachable(
                f"{self.at} does not answer (to {doing}): {words}",
                remedy="look whether the server runs and can be reached from here",
            )
        return Refused(f"{self.at} refused to {doing}: {words}", remedy="mend what the server names")


def _context(authority: Path | None, at: str) -> ssl.SSLContext:
    """What proves the server. Raises Refused where the authority's file is none."""
    try:
        return ssl.create_default_context(cafile=authority)
    except OSError as error:
        raise Refused(
            f"{authority} is no file with the authority of {at}: {error.strerror or error}",
            remedy="correct the database's `ca_bundle`",
        ) from error


def _scanned(client: Any, **words: str) -> Iterator[list[bytes]]:
    """All keys, in batches. A key may come twice where the server shrinks its table meanwhile."""
    cursor = 0
    while True:
        cursor, keys = client.scan(cursor, count=_BATCH, **words)
        yield keys
        if cursor == 0:
            return
