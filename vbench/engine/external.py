"""A server that already runs and is not ours: vbench queries it and sends load, but never starts or ends it."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import aiohttp

from vbench import loadgen
from vbench.engine.asking import ask_again, is_moody
from vbench.engine.command import find_unset_variable
from vbench.engine.endpoint import UNANSWERED, UNKNOWN, Endpoint, find_owner
from vbench.engine.readiness import NOT_READY, Readiness
from vbench.schema import Engine, Model, RunConfig
from vbench.schema.errors import Refused, ServerChanged, ServerFailed
from vbench.schema.model import PLACEHOLDER, make_unknown
from vbench.schema.secrets import declare

CHECK_S = 5.0
DENIED = (401, 403)
NO_MODELS = (KeyError, TypeError, ValueError, AttributeError)  # what reading a reply of another shape raises


class Identity(NamedTuple):
    """What a server says that it is; None where it does not say."""

    model: str | None  # the name that it was asked for, if it lists that
    version: str | None
    root: str | None  # the weights that vLLM loaded
    max_model_len: int | None


@dataclass
class ExternalServer:
    """An external endpoint with the interface of `Server`, but without a process or a log."""

    endpoint: loadgen.Endpoint
    control: Endpoint
    process: None = None
    log: None = None
    seen: Identity | None = None  # when it was asked first

    def check_alive(self) -> None:
        """Does nothing: if the server is down, the next request fails."""

    def settle_log(self) -> None:
        """Does nothing: there is no log."""

    async def check_identity(self) -> int | None:
        """The longest context that it serves, in tokens; None if it does not report one.

        Raises ServerChanged if it is no longer what it was when it was asked first: it was replaced meanwhile, or
        several servers answer at its address.
        """
        cards = await _ask_cards_of(self.control)
        name, version = self.endpoint.model, await self.control.ask_version()
        card, unlisted = cards.get(name, {}), "not listed" if cards and self.seen else None
        now = Identity(
            model=name if name in cards else unlisted,
            version=None if version == UNKNOWN else version,
            root=card.get("root"),
            max_model_len=card.get("max_model_len"),
        )
        if self.seen and (changes := _list_changes(self.seen, now)):
            raise ServerChanged(f"{self.control.base_url} is not the server that it was: {changes}")
        self.seen = self.seen or now
        return now.max_model_len


@asynccontextmanager
async def connect(engine: Engine, readiness: Readiness) -> AsyncIterator[list[ExternalServer]]:
    """The server at `engine.base_url`, for the block. If it is not ready, it is asked again when it says so.

    Raises Refused if `engine.served_model_name` is needed; ServerFailed if the server does not answer,
    is not OpenAI-compatible, or stops answering inside the block.
    """
    key, url = read_api_key(engine), engine.base_url or ""
    async with Endpoint(url, key) as control:
        try:
            model = await _choose_model(engine, control, readiness)
            yield [ExternalServer(loadgen.Endpoint(url, model, key, engine.chat), control)]
        except aiohttp.ClientResponseError as error:
            line = _describe_answer(error) + (_explain_denial(engine) if error.status in DENIED else "")
            raise ServerFailed("unreachable" if error.status in NOT_READY else "engine_error", line) from None
        except UNANSWERED as error:  # its repr would show our headers, the key among them
            line = f"{url} does not answer: {_describe(error)}"
            raise ServerFailed("unreachable", line) from None


def name_by_server(run: RunConfig, known: Callable[[], Iterable[Model]]) -> RunConfig:
    """The run, named by what its external server serves: a model that is not `known` gives the run its own name.

    The server's word is /v1/models: the `id`, `root`, the weights that vLLM loaded, and the longest context. Raises
    Refused if that is a known model, but another one than the config's, or one of several that must be named. Where
    the server does not answer from here, or lists no models, its word is `engine.served_model_name`.

    A model that the config names keeps the config's facts, under the served name. If the config names none, the facts
    are unknown; the load keeps the placeholder's `vocab_size` to draw prompts from. A `hub_id` that was given, whose
    tokenizer the load may need, stays.
    """
    if run.engine.base_url is None:
        return run
    card = _ask_card(run.engine) or ({"id": run.engine.served_model_name} if run.engine.served_model_name else {})
    names = [str(card[key]) for key in ("id", "root") if card.get(key)]
    words = {name.lower() for name in names}
    if words & _list_names(run.model) or not (words or run.model.name == PLACEHOLDER):
        return run
    served = names[0] if names else ""
    if others := [model.name for model in known() if words & _list_names(model)]:
        raise Refused(
            f"model={run.model.name}: {run.engine.base_url} serves {served}, which is model={others[0]}; give that"
        )
    if run.model.name != PLACEHOLDER:
        return replace(run, model=replace(run.model, name=_make_name(served)))
    length = card.get("max_model_len")
    known_length = length if isinstance(length, int) and length > 0 else None
    usual = {model.hub_id for model in known() if model.name == PLACEHOLDER}
    given = usual and run.model.hub_id not in usual
    hub_id = run.model.hub_id if given else names[-1] if names else UNKNOWN
    return replace(run, model=make_unknown(_make_name(served), hub_id, run.model.vocab_size, known_length))


def _describe_answer(error: aiohttp.ClientResponseError) -> str:
    return f"{error.request_info.url} answers HTTP {error.status} {error.message}"


def _explain_denial(engine: Engine) -> str:
    if engine.api_key_env is None:
        return "; engine.api_key_env=NAME sends it the key that the variable NAME holds"
    return f"; it does not take the key in {engine.api_key_env}"


def _describe(error: Exception) -> str:
    """The error in words: of a connection only its cause, as aiohttp repeats the address and adds "ssl:default"."""
    if isinstance(error, aiohttp.ClientConnectorError) and not isinstance(error, aiohttp.ClientSSLError):
        code = error.os_error.errno
        if code and code > 0:  # below 0 are those of getaddrinfo
            return os.strerror(code)
    return str(error).replace(" ssl:default", "") or type(error).__name__


def describe_engine(engine: Engine) -> str:
    """Address and engine of the server: "remote: http://host:8000, vllm 0.26.0"; the address if it tells no version.

    It is part of the run key, so a server that was upgraded gives new runs.
    """
    address = f"remote: {engine.base_url}"
    try:
        owner, version = _ask_engine(engine.base_url or "", read_api_key(engine))
    except Refused:  # no key: it will be refused where it is needed
        return address
    return address if version == UNKNOWN else f"{address}, {owner or UNKNOWN} {version}"


def check_version(planned: str, version: str) -> None:
    """Raises ServerChanged if the server tells another version than the one `planned`, as `describe_engine` has it."""
    address, _, told = planned.partition(", ")
    if told and version != UNKNOWN and told.rpartition(" ")[2] != version:
        raise ServerChanged(f"planned for {told}, but {address.removeprefix('remote: ')} is version {version} now")


def check_config(engine: Engine) -> None:
    """Raises Refused if the key's variable is not set, or `served_model_name` is needed to choose a model.

    A server that does not answer here may answer where the session runs, so that is not an error.
    """
    key = read_api_key(engine)
    if engine.served_model_name is None:
        try:
            asyncio.run(_ask_single_model(engine.base_url or "", key))
        except (*UNANSWERED, ServerFailed):
            return


def _list_names(model: Model) -> set[str]:
    return {model.name.lower(), model.hub_id.lower()}


def _make_name(served: str) -> str:
    """Makes the served model's name usable in a folder's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", served).strip("-.")[:80] or "unnamed"


def _ask_card(engine: Engine) -> dict[str, Any] | None:
    """What the server lists of the served model; None if it does not answer, or lists none of that name."""
    cards, name = _ask_cards(engine.base_url or "", read_api_key(engine)), engine.served_model_name
    return cards.get(name) if name else next(iter(cards.values())) if len(cards) == 1 else None


@cache
def _ask_cards(url: str, key: str | None) -> dict[str, dict[str, Any]]:
    """What the server lists of each of its models; empty if it does not answer from here, or lists none as OpenAI's."""

    async def ask() -> dict[str, dict[str, Any]]:
        async with Endpoint(url, key) as control:
            cards = await ask_again(lambda: asyncio.wait_for(control.list_model_cards(), CHECK_S), is_moody)
        return {str(card["id"]): card for card in cards}

    try:
        return asyncio.run(ask())
    except (*UNANSWERED, *NO_MODELS):
        return {}


@cache
def _ask_engine(url: str, key: str | None) -> tuple[str | None, str]:
    """Owner of the models and version of the server; None and "unknown" if it does not answer from here."""

    async def ask() -> str:
        async with Endpoint(url, key) as control:
            return await ask_again(lambda: asyncio.wait_for(control.read_version(), CHECK_S), is_moody)

    cards = list(_ask_cards(url, key).values())
    try:
        return find_owner(cards), asyncio.run(ask())
    except UNANSWERED:
        return find_owner(cards), UNKNOWN


async def _ask_single_model(url: str, key: str | None) -> None:
    async with Endpoint(url, key) as control:
        _require_single(await asyncio.wait_for(_ask_models(control), CHECK_S), url)


def read_api_key(engine: Engine) -> str | None:
    """The key itself; send it only to the server. Raises Refused if its variable is not set."""
    if engine.api_key_env is None:
        return None
    if unset := find_unset_variable(engine, os.environ):
        raise Refused(unset)
    return declare(os.environ[engine.api_key_env].strip())  # some servers echo a refused key


def _require_single(models: dict[str, int | None], url: str) -> str:
    if len(models) != 1:
        listed = ", ".join(models) or "no model"
        raise Refused(f"engine.served_model_name: {url} lists {listed}; name the one to measure")
    return next(iter(models))


async def _choose_model(engine: Engine, control: Endpoint, readiness: Readiness) -> str:
    """The model to ask of the server, once that is ready, or does not say when it will be."""
    if engine.served_model_name is None:
        return _require_single(await _ask_until_ready(control, readiness), control.base_url)
    with suppress(*UNANSWERED):  # the session asks again for its facts
        await _ask_until_ready(control, readiness)
    return engine.served_model_name


async def _ask_until_ready(control: Endpoint, readiness: Readiness) -> dict[str, int | None]:
    """What it lists, as `_ask_models`; asked again for as long as it says when to."""
    while True:
        try:
            return await _ask_models(control)
        except aiohttp.ClientResponseError as error:  # noqa: PERF203  a network is slower
            said = _describe_answer(error)
            told = error.headers.get("Retry-After") if error.headers and error.status in NOT_READY else None
            if not await readiness.wait(said, told):
                raise


def _list_changes(before: Identity, now: Identity) -> str:
    """What both tell, and differs: `version 0.26.0, now 0.27.0`."""
    pairs = zip(Identity._fields, before, now, strict=True)
    return "; ".join(f"{name} {old}, now {new}" for name, old, new in pairs if None not in (old, new) and old != new)


async def _ask_models(control: Endpoint) -> dict[str, int | None]:
    """The listed models with their longest contexts; empty if the server has no /v1/models."""
    return {name: card.get("max_model_len") for name, card in (await _ask_cards_of(control)).items()}


async def _ask_cards_of(control: Endpoint) -> dict[str, dict[str, Any]]:
    """What it lists of each of its models; empty if the server has no /v1/models."""
    try:
        return {card["id"]: card for card in await control.list_model_cards()}
    except aiohttp.ContentTypeError:
        line = f"{control.base_url}/v1/models is not JSON: this is not an OpenAI-compatible server"
    except aiohttp.ClientResponseError as error:
        if error.status in (404, 405):
            return {}
        raise
    except NO_MODELS as error:
        line = f"{control.base_url}/v1/models lists no models as OpenAI's does: {error!r}"
    raise ServerFailed("engine_error", line)
