"""Multi-Adapter Llama3 on one machine: seven Ollama behind a router that goes by path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from tests.deploy.projects import Form
from tests.life.whole_stack import WholeStack

_PATHS = ("base", "chatbot", "code", "summarization")
_SERVERS = (11434, 11440, 11441, 11442, 11450, 11451, 11460)
_OWN = "helper:latest"


class MultiAdapter(WholeStack):
    """What is kept: the models of each Ollama, with one that its users have made of the base by themselves."""

    form = Form("multi-adapter-llama3", "compose")
    changing = "router"

    @property
    def files(self) -> list[str]:
        return [f"model_cache/{path}-models" for path in _PATHS]

    def fill(self) -> None:
        words = {"model": _OWN, "from": "llama3:8b", "system": "Be short.", "stream": False}
        httpx.post(f"{self.here.url(_SERVERS[0])}/api/create", json=words, timeout=60).raise_for_status()

    def answers(self) -> Mapping[str, Any]:
        said = {path: self.says(f"{self.here.url(8080)}/{path}", "llama3:8b") for path in _PATHS}
        own = self.says(f"{self.here.url(8080)}/base", _OWN)
        return {"says": said, "own": own, "models": {port: self._models(port) for port in _SERVERS}}

    def _models(self, port: int) -> Mapping[str, str]:
        """Models of one Ollama with their digests."""
        listed = httpx.get(f"{self.here.url(port)}/api/tags", timeout=30).json()["models"]
        return {one["name"]: one["digest"] for one in listed}
