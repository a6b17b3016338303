"""One stack with a database of every kind and a Qdrant collection, as it is declared: backed up, lost, restored."""

from __future__ import annotations

from typing import Any

import pyrage
import pytest

from ops_pipelines.errors import IdentityMissing, UsageError
from ops_pipelines.stack.operations import Backup
from ops_pipelines.wiring import databases, drills, snapshots
from tests.servers.clickhouse import PASSWORD, USER, ClickHouseServer
from tests.servers.postgres import PostgresServer
from tests.servers.qdrant import KEY, QdrantServer
from tests.servers.redis import RedisServer
from tests.wiring.stand import Stand


@pytest.fixture
def declared(
    stand: Stand,
    postgres: PostgresServer,
    postgres_database: str,
    clickhouse: ClickHouseServer,
    redis_server: RedisServer,
    qdrant: QdrantServer,
) -> Stand:
    stand.environ |= {
        "PATH": f"{postgres.programs}:{stand.environ['PATH']}", "PG": postgres.password, "REDIS": redis_server.password,
        "CH": PASSWORD, "QD": KEY, "SALT": "salt",
    }  # fmt: skip
    names = {"pg": "${PG}", "redis": "${REDIS}", "ch": "${CH}", "qd": "${QD}", "salt": "${SALT}"}
    field = {"id": {"type": "int64", "primary": True}, "vector": {"type": "float_vector", "dimension": 384}}
    stand.change(
        secrets={**stand.declared["secrets"], **names},
        components={
            **stand.declared["components"],
            "postgres": {"kind": "postgres", "address": f"postgres://{postgres.host}:{postgres.port}"},
            "clickhouse": {"kind": "clickhouse", "address": clickhouse.address},
            "redis": {"kind": "redis", "address": f"redis://{redis_server.host}:{redis_server.port}"},
            "qdrant": {"kind": "qdrant", "address": qdrant.address},
        },
        databases={
            "keys": {
                "kind": "postgres", "component": "postgres", "name": postgres_database, "user": postgres.user,
                "password": "pg", "needs": ["salt"], "probes": {"sum": "SELECT sum(id) FROM keys"},
            },
            "traces": {"kind": "clickhouse", "component": "clickhouse", "user": USER, "password": "ch",
                       "probes": {"sum": "SELECT sum(id) FROM t"}},
            "queue": {"kind": "redis", "component": "redis", "password": "redis"},
        },
        collections={"docs": {"store": "qdrant", "token": "qd", "fields": field}},
    )  # fmt: skip
    with postgres.connect(postgres_database) as connection:
        connection.execute("CREATE TABLE keys AS SELECT generate_series(1, 100) AS id")
    clickhouse.ask("CREATE DATABASE traces")
    clickhouse.ask("CREATE TABLE traces.t (id UInt64) ENGINE = MergeTree ORDER BY id")
    clickhouse.ask("INSERT INTO traces.t SELECT number FROM numbers(100)")
    redis_server.client().mset({f"key {n}": n for n in range(100)})
    qdrant.make("docs_1", 100)
    qdrant.aliases["docs"] = "docs_1"
    return stand


def test_all_of_it_comes_back(
    declared: Stand,
    postgres: PostgresServer,
    postgres_database: str,
    clickhouse: ClickHouseServer,
    redis_server: RedisServer,
    qdrant: QdrantServer,
) -> None:
    site = declared.site
    manifest = snapshots.backup(site, by="test")
    assert {part.key: part.facts.get("rows") for part in manifest.parts if part.kind != "configuration"} == {
        "database/keys": 100, "database/traces": 100, "database/queue": 100, "collection/docs": 100,
    }  # fmt: skip
    secrets = (postgres.password, redis_server.password, PASSWORD, KEY)
    for info in declared.store.list(""):
        content = declared.store.get(info.key)[0]
        assert not [one for one in secrets if one.encode() in content], f"a secret is in {info.key}"

    with postgres.connect(postgres_database) as connection:
        connection.execute("DELETE FROM keys WHERE id > 1")
    clickhouse.ask("TRUNCATE TABLE traces.t")
    redis_server.client().flushdb()
    qdrant.collections["docs_1"]["points"] = 1
    result: Any = snapshots.restore(site, manifest.snapshot, by="test")
    assert len(result.parts) >= 4
    assert not result.skipped
    with postgres.connect(postgres_database) as connection:
        assert connection.execute("SELECT count(*) FROM keys").fetchone() == (100,)
    assert clickhouse.ask("SELECT count() FROM traces.t") == [[100]]
    assert redis_server.client().dbsize() == 100
    assert qdrant.collections[qdrant.aliases["docs"]]["points"] == 100


def test_a_drill_opens_what_is_encrypted_of_each_and_leaves_nothing(
    declared: Stand,
    postgres: PostgresServer,
    clickhouse: ClickHouseServer,
    redis_server: RedisServer,
    qdrant: QdrantServer,
) -> None:
    pair = pyrage.x25519.Identity.generate()
    public = str(pair.to_public())
    declared.environ["AGE_KEY"] = str(pair)
    encrypt = {"recipients": [public], "parts": ["databases", "collections"]}
    site = declared.change(
        secrets={**declared.declared["secrets"], "age-key": "${AGE_KEY}"},
        backup={**declared.declared["backup"], "encrypt": {**encrypt, "identity": "age-key"}},
    )
    manifest = snapshots.backup(site, by="test")
    parts = {"database/keys", "database/traces", "database/queue", "collection/docs"}
    assert {part.key for part in manifest.parts if part.recipients == (public,)} == parts
    report = drills.drill(site, full=True)
    assert [one for one in report.findings if one.ok is not True] == []
    assert parts < {one.part for one in report.parts}
    with postgres.connect("postgres") as connection:
        assert connection.execute(
            "SELECT count(*) FROM pg_database WHERE datname LIKE '%restore%'"
        ).fetchone() == (0,)
    assert not [name for (name,) in clickhouse.ask("SHOW DATABASES") if "restore" in name]
    assert redis_server.client().info("keyspace").keys() == {"db0"}
    assert qdrant.collections.keys() == {"docs_1"}
    locked = declared.change(backup={**declared.declared["backup"], "encrypt": encrypt})
    for key in sorted(parts):
        with pytest.raises(IdentityMissing, match=f"{key} is encrypted for {public}, and no identity"):
            snapshots.restore(locked, manifest.snapshot, parts=[key], by="test")


def test_a_part_of_another_kind_has_no_place(declared: Stand) -> None:
    manifest = snapshots.backup(declared.site, by="test")
    databases = dict(declared.declared["databases"])
    databases["queue"] = {**databases["keys"], "name": "queue"}
    plan = snapshots.plan_restore(declared.change(databases=databases), manifest.snapshot)
    assert "database/queue" in " ".join([*plan.warnings, *(step.detail for step in plan.steps), repr(plan)])
    with pytest.raises(Exception, match="database/queue"):
        snapshots.restore(declared.site, manifest.snapshot, parts=["database/queue"], by="test")


@pytest.mark.parametrize(
    ("changes", "url"),
    [
        ({}, "http://store:1/a-bucket"),
        ({"path_style": False}, "http://a-bucket.store:1"),
        ({"endpoint": None}, "https://s3.us-east-1.amazonaws.com/a-bucket"),
    ],
)
def test_the_server_is_told_the_bucket_s_address(changes: dict[str, Any], url: str) -> None:
    backup = Backup.model_validate({"bucket": "a-bucket", "endpoint": "http://store:1", **changes})
    assert databases._bucket_url(backup, None) == url
    assert databases._bucket_url(backup, "http://seen").startswith(("http://seen/", "http://a-bucket.seen"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"store_encryption": {"kind": "customer", "key": "salt"}}, "customer's key"),
        ({"session_token": "salt"}, "session token"),
    ],
)
def test_a_bucket_that_clickhouse_cannot_open_is_said(
    declared: Stand, changes: dict[str, Any], words: str
) -> None:
    site = declared.change(backup={**declared.declared["backup"], **changes})
    with pytest.raises(UsageError, match=words):
        databases._clickhouse(site, site.stack.databases["traces"])
