"""A small, sound stack, and how a test changes one fact of it."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from ops_pipelines.stack.model import Stack

GONE = object()
"""Stands for a value that is taken out."""

SOUND: dict[str, Any] = {
    "stack": "demo",
    "description": "A stack in which nothing is wrong.",
    "owners": ["team:platform"],
    "target": {"kind": "compose", "project": "demo", "files": ["compose.yaml"]},
    "secrets": {
        "s3-key": "${S3_KEY}", "s3-secret": "${S3_SECRET}", "salt": "${SALT}", "pg": "${PG}", "redis": "${REDIS}",
        "hub": "${HF_TOKEN}",
    },
    "caches": {
        "models": {"layout": "ollama", "path": "/root/.ollama/models"},
        "hub": {"layout": "huggingface", "path": "/root/.cache/huggingface/hub"},
    },
    "models": {
        "chat": {
            "source": "ollama:llama3:8b", "cache": "models", "served_by": "ollama", "digest": "sha256:ab",
        },
        "text": {
            "source": "ollama:mxbai-embed-large", "role": "embedding", "dimension": 1024, "cache": "models",
            "served_by": "ollama", "digest": "sha256:cd",
        },
        "large": {
            "source": "hf:casperhansen/llama-3-70b-instruct-awq@5a3c", "cache": "hub", "served_by": "vllm",
            "memory": "40G", "token": "hub",
        },
    },
    "collections": {
        "docs": {
            "store": "milvus",
            "embedding": "text",
            "fields": {
                "id": {"type": "varchar", "primary": True, "max_length": 64},
                "vector": {"type": "float_vector"},
            },
            "index": {"vector": {"metric": "COSINE"}},
        }
    },
    "databases": {
        "litellm": {
            "kind": "postgres", "component": "postgres", "name": "litellm", "password": "pg", "needs": ["salt"],
        },
        "cache": {
            "kind": "redis", "component": "redis", "password": "redis", "backup": "none",
            "reason": "answers, made anew",
        },
    },
    "volumes": {"dashboards": {"path": "/var/lib/docker/volumes/demo_dashboards/_data"}},
    "buckets": {"events": {"bucket": "langfuse", "prefix": "events/", "component": "objects"}},
    "components": {
        "grafana": {
            "kind": "grafana", "image": "grafana/grafana:12.0.1", "ports": {"http": 3000},
            "volumes": {"dashboards": "/var/lib/grafana"},
        },
        "objects": {"kind": "object-store", "image": "chrislusf/seaweedfs:3.97.1", "ports": {"http": 9000}},
        "ollama": {
            "kind": "ollama", "image": "ollama/ollama:0.17.4", "ports": {"http": 11434},
            "health": {"path": "/api/tags", "within": "10m"}, "resources": {"gpu": 0, "gpu_memory": "8G"},
        },
        "vllm": {
            "kind": "vllm", "image": "vllm/vllm-openai:v0.11.0", "ports": {"http": 8000},
            "command": ["--model=casperhansen/llama-3-70b-instruct-awq", "--quantization=awq"],
            "health": {"path": "/health", "within": "20m"},
            "resources": {"gpu": 1, "gpu_utilization": 0.5},
        },
        "litellm": {
            "kind": "litellm", "image": "ghcr.io/berriai/litellm:v1.80.0-stable", "ports": {"http": 4000},
            "depends_on": ["postgres", "redis"], "secrets": {"LITELLM_SALT_KEY": "salt"},
        },
        "milvus": {"kind": "milvus", "image": "milvusdb/milvus:v2.5.10", "ports": {"http": 19530}},
        "postgres": {
            "kind": "postgres", "image": "postgres:16.9.0", "ports": {"sql": 5432}, "health": {"port": "sql"},
        },
        "redis": {
            "kind": "redis", "image": "redis:7.4.2", "ports": {"redis": 6379}, "health": {"port": "redis"},
        },
    },
    "backup": {
        "bucket": "demo-backups", "endpoint": "https://s3.example.com", "access_key": "s3-key",
        "secret_key": "s3-secret",
    },
    "drill": {"questions": ["Who is there?"]},
    "scaling": {
        "ollama": {
            "component": "ollama", "minimum": 1, "maximum": 1, "source": "http://prometheus.example.com:9090",
            "signals": {"queue": {"query": "sum(requests_waiting)", "target": 50}},
        }
    },
    "smoke": {"model": "text", "collection": "docs"},
}  # fmt: skip

SOUND_PROCESS: dict[str, Any] = {
    "stack": "here",
    "description": "Two processes on this machine.",
    "owners": ["team:platform"],
    "target": {"kind": "process"},
    "components": {
        "one": {"kind": "app", "command": ["one", "--port={port.http}"], "ports": {"http": 8000}},
        "two": {"kind": "app", "command": ["two"], "ports": {"http": 9000}, "depends_on": ["one"]},
    },
    "caches": {"models": {"layout": "directory", "path": "models"}},
}


def declared(changes: Mapping[str, Any], base: Mapping[str, Any] = SOUND) -> Stack:
    """The stack with values set at dotted paths; GONE takes one out."""
    tree = copy.deepcopy(dict(base))
    for path, value in changes.items():
        new = value if value is GONE else copy.deepcopy(value)
        *way, last = path.split(".")
        place: Any = tree
        for word in way:
            place = place[int(word)] if isinstance(place, list) else place.setdefault(word, {})
        if value is GONE:
            del place[last]
        elif isinstance(place, list):
            place[int(last)] = new
        else:
            place[last] = new
    return Stack.model_validate_json(json.dumps(tree), strict=True)
