"""vLLM, Aphrodite and other servers of OpenAI's API, seen as what holds models: which, asleep or awake, adapters.

Follows vLLM's documented endpoints: GET /v1/models (an adapter names its base as `parent`), GET /metrics
(`cache_config_info` tells the share of each card that is claimed), POST /sleep, POST /wake_up and GET /is_sleeping
(only with VLLM_SERVER_DEV_MODE=1 and --enable-sleep-mode), POST /v1/load_lora_adapter and
/v1/unload_lora_adapter (only with VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 and --enable-lora). Aphrodite has the same
of the first two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ops_pipelines.adapters import _http
from ops_pipelines.errors import OpsError, Refused, TargetUnsupported
from ops_pipelines.policy.serving import LoadedModel

if TYPE_CHECKING:
    import httpx

_REMEDY = "check that it runs and is healthy, and its address and key in the declaration"
_CONFIG = ("vllm:cache_config_info", "aphrodite:cache_config_info")
_DEV = "start the server with --enable-sleep-mode and VLLM_SERVER_DEV_MODE=1, on a network of its own"
_LORA = "start the server with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, on a network of its own"


class ModelServer:
    """One server of OpenAI's API."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        timeout: float = 10.0,
    ) -> None:
        """`transport` stands in for the network in tests."""
        self._url = base_url.rstrip("/").removesuffix("/v1")
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = _http.client(self._url, timeout=timeout, headers=headers, transport=transport)

    @property
    def _what(self) -> str:
        return f"the model server at {self._url}"

    def loaded(self) -> tuple[LoadedModel, ...]:
        """Models that it answers for. Memory is unknown: it does not say. Raises Unreachable, Refused."""
        asleep = self.asleep() is True
        answer = _http.request(self._http, "GET", "/v1/models", what=self._what, remedy=_REMEDY)
        try:
            return tuple(
                LoadedModel(str(one["id"]), asleep=asleep, base=str(one.get("parent") or ""))
                for one in answer.json()["data"]
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Refused(
                f"{self._what} does not list models as OpenAI's API does ({type(error).__name__})",
                remedy="check that the address is the model server's, not a proxy's page or another service's",
            ) from error

    def asleep(self) -> bool | None:
        """Whether it sleeps; None where it does not say, as most do not. Raises Unreachable."""
        try:
            answer = _http.request(self._http, "GET", "/is_sleeping", what=self._what, remedy=_REMEDY)
            told: Any = answer.json()
        except (Refused, ValueError):
            return None
        said = told.get("is_sleeping") if isinstance(told, dict) else None
        return said if isinstance(said, bool) else None

    def share(self) -> float | None:
        """Share of each of its cards that it claims; None where it does not say."""
        from prometheus_client.parser import text_string_to_metric_families

        try:
            text = _http.request(self._http, "GET", "/metrics", what=self._what, remedy=_REMEDY).text
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    if sample.name in _CONFIG:
                        return float(sample.labels["gpu_memory_utilization"])
        except (OpsError, ValueError, KeyError, IndexError):
            return None
        return None

    def sleep(self, level: int = 1) -> None:
        """Take its models off the cards: weights to memory (level 1) or away (2). Raises TargetUnsupported, ..."""
        self._post("/sleep", "put to sleep", _DEV, params={"level": level})

    def wake(self) -> None:
        """Put its models back on the cards."""
        self._post("/wake_up", "woken", _DEV)

    def load_adapter(self, name: str, path: str) -> None:
        """Load a LoRA adapter that lies at `path` as the server sees it. One that is loaded already stays."""
        try:
            self._post("/v1/load_lora_adapter", "given an adapter", _LORA, json=_adapter(name, path))
        except Refused as error:
            if "already" not in error.message:
                raise

    def unload_adapter(self, name: str) -> None:
        """Unload a LoRA adapter."""
        self._post("/v1/unload_lora_adapter", "rid of an adapter", _LORA, json={"lora_name": name})

    def _post(self, path: str, done: str, remedy: str, **words: Any) -> None:
        try:
            _http.request(self._http, "POST", path, what=self._what, remedy=_REMEDY, timeout=600.0, **words)
        except Refused as error:
            if " answered 404" in error.message and "does not exist" not in error.message:
                raise TargetUnsupported(
                    f"{self._what} cannot be {done}: it has no {path}", remedy=remedy
                ) from error
            raise


def _adapter(name: str, path: str) -> dict[str, str]:
    return {"lora_name": name, "lora_path": path}
