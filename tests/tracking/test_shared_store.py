"""A campaign whose jobs file their own records at a tracking server, there or away."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from doors import fake, pids, run_folders, until, vbench
from mlflow_server import serving

from vbench import tracking
from vbench.schema.record import Record

POINT = ("workload=random", "workload.input_len=8", "workload.output_len=5")
SERVER = fake("--itl-s", "0.05")


def test_jobs_file_their_records_at_a_server_and_what_it_missed_is_filed_later_once(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    here = {"cwd": tmp_path, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    both = ("-m", *POINT, "workload.num_prompts=2,3", "engine.extra_args=[],[--fail,oom_kv]", SERVER)
    with serving(tmp_path) as url:
        there = here | {"MLFLOW_TRACKING_URI": url}
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        left = vbench(*both, "launcher.detach=true", **there)  # no driver stays that could file them
        assert left.returncode == 0, left.stderr
        until(lambda: not pids(tmp_path / "multirun"))  # a job's last word comes before it has filed
        assert filed() == on_disk(tmp_path)
        assert sorted(failure for _, failure in filed().values()) == ["", "", "oom_kv", "oom_kv"]

        away = vbench(*POINT, "workload.num_prompts=4", SERVER, **here, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
        assert away.returncode in (0, 1), away.stdout + away.stderr  # a busy host may make the run INVALID
        assert "1 run waits on disk" in away.stdout
        assert vbench("multirun", module="vbench.ingest", **there).returncode == 0  # four of them a second time
        assert filed() == on_disk(tmp_path)
        assert len(filed()) == 5


def filed() -> dict[str, tuple[str, str]]:
    """By run key, the status of its run and the failure among its tags; each key has one run."""
    runs = tracking.query().astype(object).fillna("")
    assert set(Counter(runs["tags.vbench.run_key"]).values()) == {1}
    columns = ("tags.vbench.run_key", "status", "tags.vbench.failure")
    return {key: (status, failure) for key, status, failure in runs[[*columns]].itertuples(index=False)}


def on_disk(home: Path) -> dict[str, tuple[str, str]]:
    found = map(Record.load, run_folders(home))
    status = {"VALID": "FINISHED", "INVALID": "FAILED", "FAILED": "FAILED"}  # of MLflow
    return {each.run_key: (status[each.verdict], each.failure.kind if each.failure else "") for each in found}
