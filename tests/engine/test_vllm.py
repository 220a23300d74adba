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
