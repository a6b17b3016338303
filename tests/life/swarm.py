"""vLLM Local Swarm: a model, Ray, Langfuse with ClickHouse and an object store, Qdrant, Redis and Postgres."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import httpx
import psycopg
import redis
import yaml

from tests.deploy.projects import Form
from tests.life.whole_stack import WholeStack
from tests.servers.docker import Docker
from tests.servers.images import LoadImages
from tests.servers.outside import let_in
from tests.servers.seaweed import Seaweed

_MODEL = "microsoft/Phi-3.5-mini-instruct"
_TASK, _EVENT = "task:life", "events/life.json"
_POINT = {"id": 1, "vector": [0.5, 0.25], "payload": {"words": "remembered"}}


class Swarm(WholeStack):
    """What is kept: the model, rows of two databases of Postgres and one of ClickHouse, a key of Redis, an object of
    Langfuse's store, a point of Qdrant."""

    form = Form("vllm-local-swarm", "default")
    changing = "langfuse-web"

    def __init__(self, docker: Docker, seaweed: Seaweed, bucket: str, root: Path, load: LoadImages) -> None:
        super().__init__(docker, seaweed, bucket, root, load)
        # ClickHouse itself writes into the backup's bucket, out of its container.
        file, port = self.folder / "stack.yaml", urlsplit(seaweed.endpoint).port
        assert port is not None
        declared = yaml.safe_load(file.read_text())
        declared["databases"]["traces"]["handover"] = {"endpoint": f"http://{let_in(port)}"}
        file.write_text(yaml.safe_dump(declared, sort_keys=False))

    @property
    def files(self) -> list[str]:
        return ["model_cache/models", "volume/qdrant-storage"]

    @property
    def unreachable(self) -> tuple[type[Exception], ...]:
        return (psycopg.OperationalError,)

    def fill(self) -> None:
        for name in ("langfuse", "langflow"):
            with self.postgres(name, "langfuse", "SWARM_POSTGRES_PASSWORD") as base:
                base.execute("CREATE TABLE life (id int PRIMARY KEY, words text)")
                base.execute("INSERT INTO life VALUES (1, %s)", [f"kept in {name}"])
        self._sql("CREATE TABLE life (id UInt8, words String) ENGINE = MergeTree ORDER BY id")
        self._sql("INSERT INTO life VALUES (1, 'traced')")
        self._redis().set(_TASK, "to be done")
        self._objects().put_object(Bucket="langfuse", Key=_EVENT, Body=b"an event")
        self._qdrant("PUT", "", {"vectors": {"size": 2, "distance": "Dot"}})
        self._qdrant("PUT", "/points?wait=true", {"points": [_POINT]})

    def answers(self) -> Mapping[str, Any]:
        rows = {}
        for name in ("langfuse", "langflow"):
            with self.postgres(name, "langfuse", "SWARM_POSTGRES_PASSWORD") as base:
                rows[name] = base.execute("SELECT * FROM life").fetchall()
        asked = {"ids": [1], "with_vector": True, "with_payload": True}
        return {
            "rows": rows,
            "traces": self._sql("SELECT * FROM life"),
            "task": self._redis().get(_TASK),
            "event": self._objects().get_object(Bucket="langfuse", Key=_EVENT)["Body"].read(),
            "memory": self._qdrant("POST", "/points", asked),
            "says": self.says(self.here.url(8000), _MODEL),
        }

    def _sql(self, text: str) -> str:
        who = {"X-ClickHouse-User": "langfuse", "X-ClickHouse-Key": self.environ["SWARM_CLICKHOUSE_PASSWORD"]}
        answer = httpx.post(self.here.url(8123), content=text, headers=who, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.text

    def _redis(self) -> redis.Redis:
        port, password = int(self.here.ports["6379"]), self.environ["SWARM_REDIS_PASSWORD"]
        return redis.Redis(port=port, password=password, decode_responses=True)

    def _objects(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.here.url(8333),
            region_name="auto",
            aws_access_key_id=self.environ["SWARM_OBJECTS_ACCESS_KEY"],
            aws_secret_access_key=self.environ["SWARM_OBJECTS_SECRET_KEY"],
        )

    def _qdrant(self, method: str, path: str, body: Mapping[str, Any]) -> Any:
        key = {"api-key": self.environ["SWARM_QDRANT_API_KEY"]}
        url = f"{self.here.url(6333)}/collections/memory{path}"
        answer = httpx.request(method, url, json=body, headers=key, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()["result"]
