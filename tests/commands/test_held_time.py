"""benchmarks/held_time.py: where the time went for which a session held its GPUs."""

import importlib
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest
import records

from vbench.watch import Event

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "benchmarks"))
held_time = importlib.import_module("held_time")

T = datetime(2026, 11, 28, 16, 4, 13).timestamp()  # noqa: DTZ001  local, as the log's times
LOG = """$ python -m vllm.entrypoints.openai.api_server
(APIServer pid=1) INFO 11-28 {h}:04:20 [api_utils.py:345] version 0.26.0
(APIServer pid=1) INFO 11-28 {h}:04:21 [model.py:623] Resolved architecture: LlamaForCausalLM
(EngineCore pid=2) INFO 11-28 {h}:04:40 [core.py:116] Initializing a V1 LLM engine
(EngineCore pid=2) INFO 11-28 {h}:04:42 [model_runner.py:284] Loading model from scratch...
(EngineCore pid=2) INFO 11-28 {h}:04:44 [model_runner.py:305] Model loading took 8.51 GiB and 2.7 seconds
(EngineCore pid=2) INFO 11-28 {h}:04:49 [monitor.py:53] torch.compile took 5.21 s in total
(EngineCore pid=2) INFO 11-28 {h}:04:51 [kv_cache_utils.py:2177] GPU KV cache size: 1,009,872 tokens
(EngineCore pid=2) INFO 11-28 {h}:04:54 [model_runner.py:747] Graph capturing finished in 4 secs, took 0.90 GiB
(EngineCore pid=2) INFO 11-28 {h}:04:55 [core.py:340] init engine (profile, create kv cache, warmup model) took 11 s
"""


def events(*told):
    return [Event(T + at, kind, facts) for at, kind, facts in told]


LEASE = events(
    (0, "leased", {"gpus": ["GPU-1"]}),
    (1, "starting", {"servers": 1, "points": 2, "url": None}),
    (70, "ready", {"version": "0.26.0", "rehearsal_s": 25.0, "rehearsal_rounds": 15}),
    (70.5, "measuring", {"run": "a", "name": "n10", "replies": 10}),
    (74, "recorded", {"run": "a", "folder": "n10-aa", "verdict": "VALID"}),
    (74.5, "measuring", {"run": "b", "name": "n20", "replies": 20}),
    (80, "measuring", {"run": "b", "name": "n20", "replies": 20}),
    (86, "recorded", {"run": "b", "folder": "n20-bb", "verdict": "VALID"}),
    (87, "ended", {"how": "completed"}),
)
LOADS = {"n10-aa": 3.0, "n20-bb": 5.5, "n20-bb.1": 5.0}


@pytest.mark.parametrize("hour", ["16", "05"])  # the host's time, and that of a container eleven hours behind
def test_the_parts_of_a_lease_are_told_by_its_events_and_by_the_log_in_order(hour):
    parts = held_time.split_lease(LEASE, [LOG.format(h=hour)], LOADS)
    assert [(part.kind, part.at_s, part.seconds) for part in parts[:12]] == [
        ("imports", 0, 1), ("imports", 1, 6), ("imports", 7, 1), ("imports", 8, 19),
        ("engine", 27, 2), ("engine", 29, 2), ("engine", 31, 5), ("engine", 36, 2), ("engine", 38, 3),
        ("engine", 41, 1), ("engine", 42, 3), ("rehearsal", 45, 25),
    ]  # fmt: skip
    assert [(part.kind, part.name, part.seconds) for part in parts[12:] if part.kind != "pauses"] == [
        ("load", "n10-aa", 3), ("load", "n20-bb.1", 5), ("load", "n20-bb", 5.5), ("end", "the session ended", 1),
    ]  # fmt: skip
    assert [part.seconds for part in parts[12:] if part.kind == "pauses"] == [0.5, 0.5, 0.5, 0.5, 0.5]
    assert sum(part.seconds for part in parts) == 87


def test_a_load_that_left_no_record_is_a_load_all_the_same():
    parts = held_time.split_lease(LEASE, [], {"n10-aa": 3.0, "n20-bb": 5.5})
    assert [(part.name, part.seconds) for part in parts if part.kind == "load"] == [
        ("n10-aa", 3), ("no record", 5.5), ("n20-bb", 5.5),
    ]  # fmt: skip


def test_records_of_a_folder_are_found_with_their_lease_and_its_log(tmp_path, capsys, monkeypatch):
    since = datetime.fromtimestamp(T, timezone.utc).isoformat()
    load = {"request_rate": 4.0, "duration_s": 3.0, "warmup_s": 1.0}
    made = records.record(environment={"held_since": since}, metrics={"duration": 2.0}, workload=load)
    folder = records.saved(made, tmp_path)
    told = [*LEASE[:4], Event(T + 74, "recorded", {"run": "a", "folder": folder.name, "verdict": "VALID"})]
    earlier = events((-900, "leased", {"gpus": ["GPU-1"]}), (-800, "ended", {"how": "SIGTERM"}))
    (folder.parent / "events.jsonl").write_bytes(b"".join(event.to_line() for event in [*earlier, *told]))
    (folder.parent / "server.log").write_text(LOG.format(h="16"))
    monkeypatch.setattr(sys, "argv", ["held_time.py", str(tmp_path)])
    held_time.main()
    printed = capsys.readouterr().out
    assert "| 74.0 | 27.0 | 18.0 | 25.0 | 3.0 | 1.0 | 0.0 | 4% |" in printed
    assert f"| 70.5 | 3.00 | load | {folder.name} |" in printed
