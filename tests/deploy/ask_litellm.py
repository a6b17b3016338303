"""Run by a Python with LiteLLM: read configurations as its proxy does, ask the router, print what came as JSON.

python ask_litellm.py CONFIG ..., with the variables that they name.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import litellm  # type: ignore[import-not-found,unused-ignore]
from litellm.proxy.proxy_server import ProxyConfig  # type: ignore[import-not-found,unused-ignore]

SETTINGS = (
    "num_retries", "retry_after", "allowed_fails", "cooldown_time", "enable_pre_call_checks", "fallbacks",
    "context_window_fallbacks", "content_policy_fallbacks", "timeout",
)  # fmt: skip
WORDS = (5, 2000, 5000, 12000, 60000)


async def read(config: str) -> dict[str, Any]:
    litellm.cache = None
    router, _, general = await ProxyConfig().load_config(router=None, config_file_path=config)
    found: dict[str, Any] = {name: getattr(router, name) for name in SETTINGS}
    found["routing_strategy"] = str(getattr(router.routing_strategy, "value", router.routing_strategy))
    found["drop_params"], found["master_key"] = litellm.drop_params, bool(general.get("master_key"))
    found["models"] = [
        {
            "name": one["model_name"], "model": one["litellm_params"]["model"],
            "mode": one["model_info"].get("mode"), "vector": one["model_info"].get("output_vector_size"),
        }
        for one in router.model_list
    ]  # fmt: skip
    found["answers"] = {str(count): await said(router, count) for count in WORDS}
    cache = litellm.cache
    found["cache"] = (
        None if cache is None else {"type": str(getattr(cache.type, "value", cache.type)), "ttl": cache.ttl}
    )
    if cache is not None:
        again = await ask(router, 5)
        found["cache"]["hit"] = again._hidden_params.get("cache_hit")
    return found


async def main(configs: list[str]) -> list[dict[str, Any]]:
    return [await read(one) for one in configs]


async def said(router: Any, count: int) -> str:
    try:
        answer = await ask(router, count)
    except litellm.ContextWindowExceededError as error:
        return type(error).__name__
    content: str = answer.choices[0].message.content
    return content


async def ask(router: Any, count: int) -> Any:
    return await router.acompletion(model="auto", messages=[{"role": "user", "content": "word " * count}])


if __name__ == "__main__":
    out = sys.stdout
    sys.stdout = sys.stderr
    result = asyncio.run(main(sys.argv[1:]))
    out.write(json.dumps(result))
