"""LLM Service on a card of 24 GB: one model behind LiteLLM, with Langfuse, Postgres and Redis beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg

from tests.deploy.projects import Form
from tests.life.whole_stack import WholeStack


class LlmService(WholeStack):
    """What is kept: the model, and a row of Langfuse's database."""

    form = Form("llm-service", "gpu-24")
    changing = "langfuse"

    @property
    def files(self) -> list[str]:
        return ["model_cache/models"]

    @property
    def unreachable(self) -> tuple[type[Exception], ...]:
        return (psycopg.OperationalError,)

    def fill(self) -> None:
        with self.postgres("langfuse", "langfuse", "LLM_SERVICE_POSTGRES_PASSWORD") as base:
            base.execute("CREATE TABLE traces_of_life (id int PRIMARY KEY, words text)")
            base.execute("INSERT INTO traces_of_life VALUES (1, 'a trace')")

    def answers(self) -> Mapping[str, Any]:
        with self.postgres("langfuse", "langfuse", "LLM_SERVICE_POSTGRES_PASSWORD") as base:
            rows = base.execute("SELECT * FROM traces_of_life").fetchall()
        key = self.environ["LITELLM_MASTER_KEY"]
        return {"rows": rows, "says": self.says(self.here.url(8002), "standard", key)}
