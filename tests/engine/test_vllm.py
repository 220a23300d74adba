"""Real vLLM on this CPU, end to end: what nothing fake can replace.

A start takes most of a minute, so there are two: a campaign's of three points, and one of a session file of what else
is to be seen. Nothing here depends on how busy the host is: a run that it disturbs is measured again.
"""

import importlib.util
from dataclasses import replace

import pytest
from doors import run_folders, vbench

from vbench.plan.rules import check_run
from vbench.plan.sessions import plan
from vbench.schema import Conversations, Lengths, Routing, Workload
from vbench.schema.record import REQUESTS, Record, Requests
from vbench.session import sessionfile

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not importlib.util.find_spec("vllm"), reason="vLLM is not installed: make setup"),
]
TALK = Workload(
    lengths=Lengths.conversations, num_prompts=12, sessions=2, output_len=40, routing=Routing.sticky,
    conversations=Conversations(turns=4, first_len=100, next_len=30, think_time_s=0.2),
)  # fmt: skip


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    """What a command of three points printed, and its folder."""
    home = tmp_path_factory.mktemp("campaign")
    ended = vbench(
        "-m", "hardware=cpu", "workload=random", "workload.input_len=200", "workload.output_len=32",
        "workload.num_prompts=1,2,4", cwd=home,
    )  # fmt: skip
    return ended.stdout + ended.stderr, home


@pytest.fixture(scope="module")
def caching(campaign, tmp_path_factory):
    """Folders of three runs on one server that caches: the same prompts twice, and users who talk in turns."""
    (file,) = campaign[1].glob("multirun/*/*/session.json")
    point = sessionfile.read(file).runs[0]
    config = replace(point.config, engine=replace(point.config.engine, enable_prefix_caching=True))
    version = Record.load(file.parent / point.folder).environment["engine"]
    (session,) = plan((check_run(each), version) for each in (config, replace(config, workload=TALK)))
    once, talk = session.runs
    twice = replace(once, folder="again", key=once.key[::-1])
    home = tmp_path_factory.mktemp("caching")
    ended = vbench(
        str(sessionfile.write(replace(session, runs=(once, twice, talk)), home)), cwd=home, module="vbench.session"
    )
    folders = [home / run.folder for run in (once, twice, talk)]
    assert all((folder / REQUESTS).exists() for folder in folders), ended.stdout + ended.stderr
    return folders


def test_three_points_on_one_real_server(campaign):
    said, home = campaign
    folders = run_folders(home)
    records = [Record.load(folder) for folder in folders]
    assert len(records) == 3, said
    assert len(list(home.glob("multirun/*/*/server.log"))) == 1
    for folder, record in zip(folders, records, strict=True):
        requests = Requests.load(folder / REQUESTS)
        assert record.failure is None
        assert record.metrics["failed"] == 0
        assert requests.output_tokens.tolist() == [32] * len(requests)
        assert record.metrics["server_generation_tokens"] == 32 * len(requests)
        assert record.environment["engine"].startswith("vllm")
        assert record.server["kv_cache_tokens"] > 0
    assert "processes gone" in next(home.glob("multirun/*/*/server.log")).read_text(errors="replace")


def test_equal_prompts_of_two_runs_share_no_cache(caching):
    once, twice, _ = (Record.load(folder) for folder in caching)
    assert [len(Requests.load(folder / REQUESTS)) for folder in caching[:2]] == [1, 1]
    assert all(each.metrics["server_prefix_cache_queries"] for each in (once, twice))
    assert [each.metrics["server_prefix_cache_hits"] for each in (once, twice)] == [0, 0]


def test_later_turns_hit_the_blocks_of_earlier_ones_and_of_their_replies(caching):
    requests, record = Requests.load(caching[2] / REQUESTS), Record.load(caching[2])
    assert requests.error.tolist() == [""] * 12
    assert requests.input_tokens.tolist() == requests.usage_input_tokens.tolist()
    places = {pair: place for place, pair in enumerate(zip(requests.session, requests.turn, strict=True))}
    earlier = [
        places[session, turn] for session, turn in zip(requests.session, requests.extends, strict=True) if turn >= 0
    ]
    histories = requests.input_tokens[earlier] + requests.output_tokens[earlier]
    assert (requests.carried[requests.extends >= 0] == 40).all()
    block = 128  # tokens, vLLM's on CPUs: a first prompt of 100 tokens fills one only together with its reply
    assert record.metrics["server_prefix_cache_hits"] == ((histories - 1) // block * block).sum() > 0
    measured = record.metrics["prefix_hits_measured"]
    assert record.metrics["prefix_hits_implied"] == pytest.approx(measured, abs=0.01)
    assert record.metrics["prefix_hits_simulated"] == pytest.approx(measured, abs=0.01)
