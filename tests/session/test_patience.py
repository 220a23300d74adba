"""Control requests that fail once or for good, around a load: what the run says of them."""

import asyncio

import aiohttp
import pytest

from vbench.engine import asking
from vbench.engine.endpoint import Endpoint
from vbench.engine.external import ExternalServer
from vbench.loadgen import Endpoint as Target
from vbench.schema.errors import ServerFailed
from vbench.session import patience
from vbench.session.context import Servers


class Asked:
    """A request that fails with these errors in turn, and then answers."""

    def __init__(self, *errors):
        self.errors = [*errors]

    async def __call__(self):
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


def said(status):
    return aiohttp.ClientResponseError(None, (), status=status, message="words")


SERVER = ExternalServer(Target("http://host:1", "m"), Endpoint("http://host:1"))


@pytest.mark.parametrize("error", [said(500), said(503), said(429), aiohttp.ClientConnectionError(), TimeoutError()])
def test_what_may_pass_is_asked_again(error, monkeypatch):
    monkeypatch.setattr(asking, "PAUSE_S", 0.0)
    error = asyncio.TimeoutError() if isinstance(error, TimeoutError) else error
    assert asyncio.run(patience.ask(SERVER, "/metrics", Asked(error, error))) == "answer"


@pytest.mark.parametrize("status", [400, 401, 404, 499])
def test_what_is_refused_is_not_asked_again(status):
    asked = Asked(said(status), said(500))
    with pytest.raises(aiohttp.ClientResponseError):
        asyncio.run(patience.ask(SERVER, "/metrics", asked))
    assert len(asked.errors) == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (said(500), "HTTP 500 words"),
        (aiohttp.ClientOSError("reset"), "reset"),
        (asyncio.TimeoutError(), "TimeoutError"),
    ],
)
def test_what_never_answers_says_what_was_asked_and_what_came(error, words, monkeypatch):
    monkeypatch.setattr(asking, "AGAIN_S", 0.0)
    with pytest.raises(ServerFailed) as failed:
        asyncio.run(patience.ask(SERVER, "/metrics", Asked(error, error)))
    assert failed.value.kind == "unreachable"
    assert failed.value.telling_line == f"http://host:1/metrics does not answer, asked again for 0 s: {words}"


def test_a_server_that_has_ended_says_so_at_once():
    class Dead:
        def check_alive(self):
            raise ServerFailed("server_died", "its log's words")

    asked = Asked(said(500), said(500))
    with pytest.raises(ServerFailed, match="its log's words"):
        asyncio.run(patience.ask(Dead(), "/metrics", asked))
    assert len(asked.errors) == 1


def test_pages_counters_and_identity_are_asked_so(monkeypatch):
    monkeypatch.setattr(asking, "PAUSE_S", 0.0)
    control = Endpoint("http://host:1")
    servers = Servers([ExternalServer(Target("http://host:1", "m"), control)], {})
    monkeypatch.setattr(control, "read_metrics", Asked(said(503)))
    assert asyncio.run(servers.read_metrics()) == ["answer"]

    class Counted(Asked):
        async def __call__(self):
            await super().__call__()
            return {"prompt_tokens": 3.0}

    monkeypatch.setattr(control, "read_counters", Counted(said(503)))
    assert asyncio.run(servers.counters()) == {"prompt_tokens": 3.0}

    class Listed(Asked):
        async def __call__(self):
            await super().__call__()
            return [{"id": "m", "max_model_len": 8}]

    listed = Listed(said(503))
    monkeypatch.setattr(control, "list_model_cards", listed)
    monkeypatch.setattr(control, "ask_version", Asked())
    asyncio.run(servers.check_unchanged())
    assert listed.errors == []
