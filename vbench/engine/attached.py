"""A server that already runs, and is not ours: it is asked and loaded, never started, reset or ended."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from vbench import loadgen
from vbench.engine.endpoint import UNANSWERED, Endpoint
from vbench.schema import Engine
from vbench.schema.errors import Refused, ServerFailed

CHECK_S = 5.0
NO_MODELS = (KeyError, TypeError, ValueError, AttributeError)  # what reading a reply of another shape raises


@dataclass(frozen=True)
class ExternalServer:
    """One endpoint of somebody's, with the face of a Server of ours; it has no process and no log to read."""

    endpoint: loadgen.Endpoint
    control: Endpoint
    process: None = None
    log: None = None

    def check_alive(self) -> None:
        """Nothing to see from here: a server that is gone fails the next request to it."""

    async def check_identity(self) -> int | None:
        """The longest context that it serves, None where it does not say."""
        return (await _models(self.control)).get(self.endpoint.model)

    async def fresh(self) -> None:
        """What it has cached stays: it serves others too, and each run sends prompts of its own."""
        await self.check_identity()


@asynccontextmanager
async def attached(engine: Engine) -> AsyncIterator[list[ExternalServer]]:
    """The server at `engine.base_url`, for the block.

    Raises Refused where it must be told which model is meant; ServerFailed where nobody answers there, or what answers
    is no OpenAI-compatible server, or stops answering in the block.
    """
    key, url = api_key(engine), engine.base_url or ""
    async with Endpoint(url, key) as control:
        try:
            model = engine.served_model_name or _only(await _models(control), url)
            yield [ExternalServer(loadgen.Endpoint(url, model, key, engine.chat), control)]
        except aiohttp.ClientResponseError as error:
            line = f"{error.request_info.url} answers HTTP {error.status} {error.message}"
            raise ServerFailed("engine_error", without(key, line)) from None
        except UNANSWERED as error:  # its repr would show our headers, the key among them
            line = f"{url} does not answer: {str(error) or type(error).__name__}"
            raise ServerFailed("unreachable", without(key, line)) from None


def check(engine: Engine) -> None:
    """Raises Refused where the key's variable is not set, or the server must be told which model is meant.

    A server that does not answer from here may do so where the session runs: that is left to it.
    """
    key = api_key(engine)
    if engine.served_model_name is None:
        try:
            asyncio.run(_ask_once(engine.base_url or "", key))
        except (*UNANSWERED, ServerFailed):
            return


async def _ask_once(url: str, key: str | None) -> None:
    async with Endpoint(url, key) as control:
        _only(await asyncio.wait_for(_models(control), CHECK_S), url)


def api_key(engine: Engine) -> str | None:
    """The key itself: it goes to the server and nowhere else. Raises Refused where its variable is not set."""
    if engine.api_key_env is None:
        return None
    key = os.environ.get(engine.api_key_env, "").strip()
    if not key:
        raise Refused(f"engine.api_key_env={engine.api_key_env}: no such environment variable; export it with the key")
    return key


def without(key: str | None, text: str) -> str:
    """The text with the key struck out: some servers repeat what they refuse."""
    return text.replace(key, "***") if key else text


def _only(models: dict[str, int | None], url: str) -> str:
    if len(models) != 1:
        listed = ", ".join(models) or "no model"
        raise Refused(f"engine.served_model_name: {url} lists {listed}; name the one to measure")
    return next(iter(models))


async def _models(control: Endpoint) -> dict[str, int | None]:
    """What it lists; nothing where it has no list at all."""
    try:
        return await control.models()
    except aiohttp.ContentTypeError:
        line = f"{control.base_url}/v1/models is not JSON: this is no OpenAI-compatible server"
    except aiohttp.ClientResponseError as error:
        if error.status in (404, 405):
            return {}
        raise
    except NO_MODELS as error:
        line = f"{control.base_url}/v1/models lists no models as OpenAI's does: {error!r}"
    raise ServerFailed("engine_error", line)
