"""Control requests to a server, outside the load path, over aiohttp."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import aiohttp
from typing_extensions import Self

from vbench.engine import counters

UNKNOWN = "unknown"  # a version that is not reported
UNANSWERED = (aiohttp.ClientError, asyncio.TimeoutError)
PREFILL_S = 300.0  # limit for one step of prefill, during which kernels may be compiled
PAUSE = "/pause?mode=keep&clear_cache=false"  # vLLM's, where VLLM_SERVER_DEV_MODE is set
GATHER_S = 0.025  # for the prompts of one request to reach a paused engine: it tells nobody how many wait


class Endpoint:
    """One server's control requests. An async context manager; an unanswered call raises one of UNANSWERED.

    `base_url` has no /v1; an API key is sent only with requests under /v1.
    """

    def __init__(self, base_url: str, api_key: str | None = None) -> None:
        self.base_url = base_url
        self._authorization = {"Authorization": f"Bearer {api_key}"} if api_key else {}

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    async def is_healthy(self) -> bool:
        """Whether /health answers 200; False, not an error, if nothing listens on the port."""
        try:
            async with self._http.get(f"{self.base_url}/health", timeout=aiohttp.ClientTimeout(total=5)) as reply:
                return reply.status == 200
        except UNANSWERED:
            return False

    async def list_models(self) -> dict[str, int | None]:
        """The served models and the longest context of each, if the server reports it."""
        return {model["id"]: model.get("max_model_len") for model in await self.list_model_cards()}

    async def list_model_cards(self) -> list[dict[str, Any]]:
        """What /v1/models lists: `id`, and from vLLM `owned_by`, `root` (the weights it loaded) and `max_model_len`."""
        async with self._http.get(f"{self.base_url}/v1/models", headers=self._authorization) as reply:
            reply.raise_for_status()
            data = await reply.json()
        cards: list[dict[str, Any]] = data["data"]
        return cards

    async def ask_owner(self) -> str | None:
        """Who owns its models, which names the engine ("vllm", "sglang"); None if it does not say."""
        try:
            return find_owner(await self.list_model_cards())
        except (*UNANSWERED, KeyError, TypeError, ValueError, AttributeError):  # no list of models, or of another shape
            return None

    async def ask_version(self) -> str:
        """The server's version; `unknown` if it does not report it as vLLM does."""
        try:
            return await self.read_version()
        except aiohttp.ClientResponseError:
            return UNKNOWN

    async def read_version(self) -> str:
        """As `ask_version`, but an error of the server (HTTP 5xx) is raised."""
        async with self._http.get(f"{self.base_url}/version") as reply:
            if reply.status >= 500:
                reply.raise_for_status()
            if reply.status != 200 or reply.content_type != "application/json":
                return UNKNOWN
            try:
                said: Any = await reply.json()
            except ValueError:
                return UNKNOWN
        return str(said.get("version", UNKNOWN)) if isinstance(said, dict) else UNKNOWN

    async def read_counters(self) -> dict[str, float]:
        """The counters and gauges of vLLM; empty if the server has no /metrics."""
        return counters.parse(await self.read_metrics())

    async def read_metrics(self) -> str:
        """The text of /metrics; "" if the server has none."""
        async with self._http.get(f"{self.base_url}/metrics") as reply:
            if 400 <= reply.status < 500:
                return ""
            reply.raise_for_status()
            return await reply.text(errors="replace")

    async def prefill(self, model: str, prompts: Sequence[Sequence[int]]) -> float | None:
        """Has the engine process the prompts (token ids) in one step, and returns the seconds; None if it refuses them.

        Several prompts reach the engine one after another, so it is paused until all have. An engine that cannot be
        paused starts with those that came first, and takes the others as its next step.
        """
        asked = {"model": model, "prompt": [list(each) for each in prompts], "max_tokens": 1, "temperature": 0}
        paused = len(prompts) > 1 and await self._post_is_ok(PAUSE)  # vLLM answers after 20 ms
        sending, began = asyncio.ensure_future(self._complete(asked)), time.monotonic()
        try:
            if paused:
                try:
                    await asyncio.sleep(GATHER_S)
                finally:
                    began = time.monotonic()
                    await self._post_is_ok("/resume")
            return time.monotonic() - began if await sending else None
        finally:
            sending.cancel()

    async def _complete(self, asked: dict[str, Any]) -> bool:
        """Whether the server answers this request for completions."""
        url, limit = f"{self.base_url}/v1/completions", aiohttp.ClientTimeout(total=PREFILL_S)
        async with self._http.post(url, json=asked, headers=self._authorization, timeout=limit) as reply:
            await reply.read()
            return reply.status == 200

    async def _post_is_ok(self, path: str) -> bool:
        async with self._http.post(f"{self.base_url}{path}") as reply:
            return reply.status == 200


def find_owner(cards: Sequence[dict[str, Any]]) -> str | None:
    """The owner of all the models that /v1/models lists; None if it does not say, or they have several."""
    owners = {card.get("owned_by") for card in cards}
    return str(owners.pop()) if len(owners) == 1 and None not in owners else None
