"""A server that already runs and becomes another one meanwhile: no run is filed under what it was before."""

import asyncio

import pytest
from doors import run_folders, vbench
from test_external import Bare, serving

from vbench.engine import external
from vbench.loadgen import Endpoint as Target
from vbench.schema.errors import ServerChanged
from vbench.schema.failures import PERMANENT
from vbench.schema.record import Record


class Replaced(Bare):
    """A server that serves other weights under the same name from its first request for three tokens on."""

    roots = ("theirs/8b",)

    def answer(self, status, said):
        for card in said.get("data", ()):
            card["root"] = Replaced.roots[-1]
        super().answer(status, said)

    def do_POST(self):  # noqa: N802
        if b'"max_completion_tokens":3' in self.rfile.peek():
            Replaced.roots = ("theirs/8b", "theirs/70b")
        super().do_POST()


def test_a_server_that_is_another_one_meanwhile_fails_what_was_planned_for_the_first(tmp_path):
    with serving(Replaced) as url:
        lengths = ("workload.input_len=20", "workload.output_len=2,3,4", "workload.num_prompts=4")
        ended = vbench(
            "-m", "engine=openai", f"engine.base_url={url}", "engine.chat=true", "workload=random", *lengths,
            "workload.ignore_eos=false", cwd=tmp_path,
        )  # fmt: skip
    assert ended.returncode == 1, ended.stdout + ended.stderr
    first, *others = sorted(
        map(Record.load, run_folders(tmp_path)),
        key=lambda record: record.config["workload"]["output_len"],
    )
    assert len(others) == 2
    assert first.failure is None
    for each in others:
        assert each.failure.kind == "engine_error"
        assert "root theirs/8b, now theirs/70b; run the same command again with rerun=failed" in each.failure.line
    assert (
        "engine_error" in PERMANENT
    )  # a job that is tried again would file the new server's numbers under the old plan


class Telling:
    """A server's control requests: its models, and its version, in turn."""

    base_url = "http://host:1"

    def __init__(self, *told):
        self.told = list(told)

    async def list_model_cards(self):
        return self.told[0][0]

    async def ask_version(self):
        return self.told.pop(0)[1]


def card(name="m", **facts):
    return [{"id": name, **facts}]


@pytest.mark.parametrize(
    ("first", "then", "words"),
    [
        ((card(root="a"), "0.26"), (card(root="b"), "0.26"), "root a, now b"),
        ((card(), "0.26"), (card(), "0.27"), "version 0.26, now 0.27"),
        ((card(max_model_len=8), "unknown"), (card(max_model_len=4), "unknown"), "max_model_len 8, now 4"),
        ((card(), "0.26"), (card("other"), "0.26"), "model m, now not listed"),
        ((card(root="a"), "0.26"), (card(root="a"), "unknown"), None),  # a gateway that answers 503 for a moment
        ((card(), "unknown"), (card(root="a"), "0.26"), None),
        ((card(root="a"), "0.26"), ([], "0.26"), None),
        ((card("other"), "0.26"), (card("other"), "0.26"), None),  # a name that it serves without listing it
    ],
)
def test_what_a_server_says_of_itself_is_compared_where_it_says_it(first, then, words):
    server = external.ExternalServer(Target("http://host:1", "m"), Telling(first, then))
    assert asyncio.run(server.check_identity()) == first[0][0].get("max_model_len")
    if words is None:
        asyncio.run(server.check_identity())
        return
    with pytest.raises(ServerChanged, match=f"http://host:1 is not the server that it was: {words}; run the same"):
        asyncio.run(server.check_identity())


@pytest.mark.parametrize("version", ["0.26.0", "unknown"])
def test_a_server_met_again_after_a_failure_is_of_the_version_that_was_planned(version):
    external.check_version("remote: http://host:1, vllm 0.26.0", version)
    external.check_version("remote: http://host:1", "0.27.0")
    with pytest.raises(ServerChanged, match=r"planned for vllm 0.26.0, but http://host:1 is version 0.27.0 now"):
        external.check_version("remote: http://host:1, vllm 0.26.0", "0.27.0")
