"""Real vLLM on this CPU, end to end: the one test that nothing fake can replace."""

import importlib.util
import json

import pytest
from doors import vbench

from vbench.schema.record import REQUESTS, Record, Requests, is_aside

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.alone,  # the engine computes on every core, and its client is judged by what is left
    pytest.mark.skipif(not importlib.util.find_spec("vllm"), reason="vLLM is not installed: make setup"),
]


def test_three_points_on_one_real_server(tmp_path):
    ended = vbench(
        "-m", "hardware=cpu", "workload=random", "workload.input_len=200", "workload.output_len=32",
        "workload.num_prompts=1,2,4", cwd=tmp_path,
    )  # fmt: skip
    found = sorted(path.parent for path in tmp_path.glob("multirun/*/*/*/record.json"))
    folders = [folder for folder in found if not is_aside(folder)]  # a run that a busy host disturbed is measured again
    records = [Record.load(folder) for folder in folders]
    assert len(records) == 3, ended.stdout + ended.stderr
    assert len(list(tmp_path.glob("multirun/*/*/server.log"))) == 1
    for folder, record in zip(folders, records, strict=True):
        requests = Requests.load(folder / REQUESTS)
        assert record.failure is None
        assert record.metrics["failed"] == 0
        assert requests.output_tokens.tolist() == [32] * len(requests)
        assert record.metrics["server_generation_tokens"] == 32 * len(requests)
        assert record.environment["engine"].startswith("vllm")
        assert record.server["kv_cache_tokens"] > 0
    assert "processes gone" in next(tmp_path.glob("multirun/*/*/server.log")).read_text(errors="replace")
    check_that_equal_prompts_share_no_cache(next(tmp_path.glob("multirun/*/*/session.json")), tmp_path / "twice")


def check_that_equal_prompts_share_no_cache(file, folder):
    """Runs one point twice on one server: the second run sends the prompts that the first has left in the cache."""
    session = json.loads(file.read_text())
    run = session["runs"][0]
    session["runs"] = [run, {**run, "folder": f"{run['folder']}-again", "key": run["key"][::-1]}]
    folder.mkdir()
    (folder / "session.json").write_text(json.dumps(session))
    ended = vbench(str(folder / "session.json"), cwd=folder, module="vbench.session")
    found = [Record.load(folder / each["folder"]).metrics for each in session["runs"]]
    assert all(each["server_prefix_cache_queries"] for each in found), ended.stdout + ended.stderr
    assert [each["server_prefix_cache_hits"] for each in found] == [0, 0]


def test_later_turns_hit_the_blocks_of_earlier_ones_and_of_their_replies(tmp_path):
    ended = vbench(
        "hardware=cpu", "workload=conversations", "workload.num_prompts=12", "workload.sessions=2",
        "workload.output_len=40", "workload.conversations={turns: 4, first_len: 100, next_len: 30, think_time_s: 0.2}",
        "engine.enable_prefix_caching=true", cwd=tmp_path,
    )  # fmt: skip
    found = [path.parent for path in tmp_path.glob("multirun/*/*/*/record.json") if not is_aside(path.parent)]
    assert len(found) == 1, ended.stdout + ended.stderr
    requests, record = Requests.load(found[0] / REQUESTS), Record.load(found[0])
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
