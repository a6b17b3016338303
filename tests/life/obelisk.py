"""Obelisk on one machine without a card: Ollama, LiteLLM, Postgres, Milvus with etcd and its store, the RAG server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import psycopg

from ops_pipelines.wiring.connect import vector_store
from tests.deploy.projects import Form
from tests.life.whole_stack import WholeStack
from tests.servers.docker import IMAGE

_COLLECTION = "obelisk_docs"
_KEY = "sk-hash-of-a-key"


class Obelisk(WholeStack):
    """What is kept: a row of LiteLLM's database, a document as a vector, a file of the vault."""

    form = Form("obelisk", "dev")
    changing = "rag"

    @property
    def files(self) -> list[str]:
        return ["model_cache/models", "volume/vault"]

    @property
    def unreachable(self) -> tuple[type[Exception], ...]:
        return (psycopg.OperationalError,)

    def fill(self) -> None:
        with self.postgres("litellm", "litellm", "OBELISK_POSTGRES_PASSWORD") as base:
            base.execute("CREATE TABLE IF NOT EXISTS keys_of_life (token text PRIMARY KEY)")
            base.execute("INSERT INTO keys_of_life VALUES (%s)", [_KEY])
        row = {
            "id": "life",
            "vector": [0.5] * 3072,
            "data": "Words.",
            "metadata": {"source": "a"},
            "doc_id": "a",
        }
        store = vector_store(self.site, _COLLECTION)
        store.insert(_COLLECTION, [row])
        store.flush(_COLLECTION)
        vault = f"{self.project}_vault:/to"  # the server itself may only read it
        self.docker.run("run", "--rm", "-u", "0", "-v", vault, IMAGE, "sh", "-c", "echo kept > /to/note.md")

    def answers(self) -> Mapping[str, Any]:
        with self.postgres("litellm", "litellm", "OBELISK_POSTGRES_PASSWORD") as base:
            rows = base.execute("SELECT token FROM keys_of_life").fetchall()
        tags = httpx.get(f"{self.here.url(11434)}/api/tags", timeout=30).json()["models"]
        [found] = vector_store(self.site, _COLLECTION).get(_COLLECTION, ["life"])
        return {
            "keys": rows,
            "says": self.says(self.here.url(4000), "auto", self.environ["LITELLM_MASTER_KEY"]),
            "models": sorted((one["name"], one["digest"]) for one in tags),
            "document": (found["data"], found["metadata"], list(found["vector"])),
            "vault": self.docker.run("exec", self.here.container("rag"), "cat", "/app/vault/note.md"),
        }
