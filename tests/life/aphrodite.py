"""Aphrodite on one node: the engine behind a gateway with TLS, keys and rights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from tests.deploy.projects import Form
from tests.life.whole_stack import WholeStack
from tests.whole import self_signed

_MODEL = "hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4"


class Aphrodite(WholeStack):
    """What is kept: the model; who may ask for what is declared."""

    form = Form("aphrodite", "single-node")
    changing = "gateway"

    def words(self) -> Mapping[str, str]:
        return {
            "APHRODITE_TLS_PEM": self_signed(),
            "APHRODITE_CLIENT_KEYS": "key-of-a a\nkey-of-b b\n",
            "APHRODITE_CLIENT_RIGHTS": "a:chat x\nb:embeddings x\n",
        }

    @property
    def files(self) -> list[str]:
        return ["model_cache/models"]

    def fill(self) -> None:
        """Nobody keeps anything in it."""

    def answers(self) -> Mapping[str, Any]:
        door = self.here.url(8443, "https")
        refused = httpx.post(
            f"{door}/v1/chat/completions",
            json={"model": _MODEL},
            headers={"Authorization": "Bearer key-of-b"},
            verify=False,  # noqa: S501 - the certificate is the test's own
        )
        return {"says": self.says(door, _MODEL, "key-of-a"), "refused": refused.status_code}
