"""Stands in for Obelisk's RAG server, whose source is on no registry: its command line, its variables, its addresses.

As https://github.com/usrbinkat/obelisk has them at 61a07a2: src/obelisk/rag/common/config.py (variables),
storage/store.py (the collection), cli/rag.py (/stats), api/openai.py (/v1/chat/completions). It embeds and writes
through LiteLLM and keeps its rows in Milvus, as the real one does.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pymilvus import Collection, CollectionSchema, DataType, FieldSchema, connections, utility

_LITELLM = os.environ.get("LITELLM_API_BASE", "http://litellm:4000")
_KEY = os.environ.get("LITELLM_API_KEY", "")
_WORDS = os.environ.get("LLM_MODEL", "gpt-4o")
_EMBEDDING = os.environ.get("EMBEDDING_MODEL", "text-embedding-3-large")
_NUMBERS = int(os.environ.get("EMBEDDING_DIM", "3072"))
_COLLECTION = os.environ.get("MILVUS_COLLECTION", "open_webui_obelisk_rag")
_TOP = int(os.environ.get("RETRIEVE_TOP_K", "5"))
_VAULT = Path(os.environ.get("VAULT_DIR", "./vault"))


def ask(path: str, body: dict[str, Any]) -> Any:
    """LiteLLM's answer."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {_KEY}"}
    request = urllib.request.Request(_LITELLM + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


def embed(text: str) -> list[float]:
    """The vector of a text."""
    found: list[float] = ask("/v1/embeddings", {"model": _EMBEDDING, "input": [text]})["data"][0]["embedding"]
    return found


def opened() -> Collection:
    """The collection, made where it is not there, and loaded."""
    connections.connect(
        host=os.environ.get("MILVUS_HOST", "milvus"), port=os.environ.get("MILVUS_PORT", "19530")
    )
    if utility.has_collection(_COLLECTION):
        found = Collection(_COLLECTION)
    else:
        fields = [
            FieldSchema("id", DataType.VARCHAR, is_primary=True, max_length=65535),
            FieldSchema("vector", DataType.FLOAT_VECTOR, dim=_NUMBERS),
            FieldSchema("data", DataType.VARCHAR, max_length=65535),
            FieldSchema("metadata", DataType.JSON),
            FieldSchema("doc_id", DataType.VARCHAR, max_length=255),
        ]
        schema = CollectionSchema(fields, description="Obelisk RAG embeddings")
        found = Collection(_COLLECTION, schema, consistency_level="Strong")
        index = {"metric_type": "IP", "index_type": "HNSW", "params": {"M": 16, "efConstruction": 256}}
        found.create_index("vector", index)
    found.load()
    return found


def index(rows: Collection) -> None:
    """Bring the vault's files into the collection."""
    for file in sorted(_VAULT.rglob("*.md")):
        text = file.read_text()
        rows.insert([[str(uuid.uuid4())], [embed(text)], [text], [{"source": str(file)}], [str(file)[:255]]])
    rows.flush()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    rows: Collection

    def do_GET(self) -> None:
        if self.path != "/stats":
            self.answer(404, {"detail": "Not Found"})
            return
        self.answer(
            200,
            {
                "document_count": self.rows.num_entities,
                "vector_db_path": None,
                "model_provider": os.environ.get("MODEL_PROVIDER", "litellm"),
                "llm_model": _WORDS,
                "embedding_model": _EMBEDDING,
                "vault_directory": str(_VAULT),
            },
        )

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            self.answer(200, self.written(body))
        except Exception as error:  # noqa: BLE001 - the real one answers 500 with the words of whatever it was
            self.answer(500, {"detail": str(error)})

    def written(self, body: dict[str, Any]) -> dict[str, Any]:
        """An answer out of what the collection holds."""
        question = [one["content"] for one in body["messages"] if one["role"] == "user"][-1]
        [near] = self.rows.search(
            [embed(question)],
            "vector",
            {"metric_type": "IP", "params": {"ef": 128}},
            _TOP,
            output_fields=["data", "metadata"],
        )
        found = [
            {"content": hit.entity.get("data")[:200], "source": hit.entity.get("metadata")["source"]}
            for hit in near
        ]
        context = "\n\n".join(one["content"] for one in found)
        words = [
            {
                "role": "user",
                "content": f"Context:\n{context}\n\nQuestion: {question}\n\nAnswer:" if found else question,
            }
        ]
        asked = {
            "model": body.get("model") or _WORDS,
            "messages": words,
            "max_tokens": body.get("max_tokens") or 32,
        }
        return {**ask("/v1/chat/completions", asked), "sources": found or None}

    def answer(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def main() -> None:
    """`rag serve --host H --port P`."""
    words = sys.argv[1:]
    Handler.rows = opened()
    index(Handler.rows)
    place = (words[words.index("--host") + 1], int(words[words.index("--port") + 1]))
    ThreadingHTTPServer(place, Handler).serve_forever()


if __name__ == "__main__":
    main()
