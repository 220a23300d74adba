"""The story of a session where it does not go well: what fails, what goes on, what is left for the next time."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from builders import run_config
from doors import FAKE

from vbench.engine.command import MARK
from vbench.plan.rules import check_run
from vbench.plan.sessions import plan
from vbench.schema.record import RECORD, REQUESTS, Failure, Record, Requests
from vbench.session import execute, measuring, sessionfile
from vbench.session.context import Servers
from vbench.session.rehearsal import bursts
from vbench.watch import EVENTS, Events

PATIENCE_S = 240  # with what is to happen: only a test that hangs waits so long


def session(*flags, loads=(2, 30, 40), workload=None, model=None, **engine):
    """A session of runs of 5 tokens on the fake server; its rehearsal is 9 requests."""
    given = {"weights": "dummy", "command": ["python", str(FAKE), "--itl-s", "0.02", *flags], **engine}
    load = {"lengths": "random", "input_len": 8, "output_len": 5} | (workload or {})
    loads = [{**load, "num_prompts": count} for count in loads]
    runs = [check_run(run_config(engine=given, model=model or {}, workload=each)) for each in loads]
    (made,) = plan((run, "fake") for run in runs)
    return made


def slow_session():
    """Of runs that last while a test reacts to their begin: 30 requests of 5 tokens take four seconds."""
    return session("--itl-s", "0.05", max_num_seqs=2)


def executed(made, folder, listener=lambda _: None):
    """Executes the session here; its records by the number of prompts."""
    sessionfile.write(made, folder)
    execute(made, folder, Events(folder, listener))
    return records(made, folder)


def records(made, folder):
    folders = {run.config.workload.num_prompts: folder / run.folder for run in made.runs}
    return {count: Record.load(each) for count, each in folders.items() if (each / RECORD).exists()}


def verdicts(found):
    """Measured or why not; whether it is to be trusted is for a quiet machine to say."""
    return {count: record.failure.kind if record.failure else "measured" for count, record in found.items()}


def events(folder):
    return [json.loads(line) for line in (folder / EVENTS).read_text().splitlines()]


def happened(folder, event):
    return [each for each in events(folder) if each["event"] == event] if (folder / EVENTS).exists() else []


def is_measuring(folder, replies):
    """Whether this run has begun. A run before it may have been measured again, as on a busy host."""
    return any(each["replies"] == replies for each in happened(folder, "measuring"))


def test_on_gpus_steps_of_every_size_are_gone_through_before_a_clock_runs():
    def sent(context, gpus):
        hardware = {"gpus": gpus} if gpus else {}
        (made,) = plan([(check_run(run_config(engine={"weights": "dummy"}, hardware=hardware)), "fake")])
        return bursts(made, context)

    def steps(context, gpus):
        """Tokens of each prefill: the first to come is a step of its own, and the others are the next."""
        return [max(count - 1, 1) * length for count, length, _ in sent(context, gpus)]

    assert steps(2000, gpus=0) == [256, 7 * 256]
    assert steps(131_072, gpus=1)[2:] == [1024, 1536, 2048, 3072, 4096]
    assert steps(2000, gpus=1)[2:] == pytest.approx([1024, 1536, 2048, 3072, 4096], abs=4)
    assert all(length >= 1 and length + reply <= 40 for gpus in (0, 1) for _, length, reply in sent(40, gpus))


def test_where_a_server_dies_under_a_run_only_that_run_fails_and_the_rest_goes_on_with_a_fresh_one(tmp_path):
    made = session("--fail", "die_after:20", "--once", str(tmp_path / "died"))
    found = executed(made, tmp_path)
    assert verdicts(found) == {2: "measured", 30: "server_died", 40: "measured"}
    assert "EngineCore encountered an issue" in found[30].failure.line
    assert [each["points"] for each in happened(tmp_path, "starting")] == [3, 1]
    assert found[2].server["start_s"] != found[40].server["start_s"]
    assert len(Requests.load(tmp_path / made.runs[1].folder / REQUESTS)) == 30  # what was measured is kept
    for log in (tmp_path / "server.log.1", tmp_path / made.runs[1].folder / "server.log"):
        assert "EngineDeadError" in log.read_text()
    assert "EngineDeadError" not in (tmp_path / "server.log").read_text()


def test_a_run_under_which_every_server_dies_is_tried_once_a_session(tmp_path):
    found = executed(session("--fail", "die_after:20"), tmp_path)
    assert verdicts(found) == {2: "measured", 30: "server_died", 40: "server_died"}
    assert len(happened(tmp_path, "starting")) == 2


def test_after_a_warm_up_throughput_is_what_the_server_served_while_the_load_was_measured(tmp_path):
    load = {"output_len": [2, 40], "max_concurrency": 4, "warmup_s": 0.5}
    made = session(loads=[40], workload=load)
    found = executed(made, tmp_path)[40].metrics
    raw = Requests.load(tmp_path / made.runs[0].folder / REQUESTS)
    counted = raw.sent >= 0.5
    begin, end = raw.sent[counted].min(), raw.finished[counted].max()
    served = int(((raw.chunk_times > begin) & (raw.chunk_times <= end)).sum())
    assert served > found["total_output_tokens"]  # one of the places was still busy with the warm-up
    assert found["output_throughput"] == pytest.approx(served / (end - begin))
    assert found["warmup_requests"] == (~counted).sum() > 0


@pytest.mark.parametrize("remove", [Path.unlink, lambda log: os.truncate(log, 0)])
def test_a_run_whose_log_somebody_removed_may_have_compiled_unseen(tmp_path, remove):
    def listen(event):
        if event.kind == "measuring" and (tmp_path / "server.log").exists():
            remove(tmp_path / "server.log")

    found = executed(session(loads=[30]), tmp_path, listen)[30]
    assert "log_cut" in [reason.code for reason in found.invalid]
    assert found.metrics["completed"] == 30


def test_whether_a_ramp_is_saturated_is_judged_by_the_rates_of_the_requests_that_were_sent(tmp_path, monkeypatch):
    judged = []
    monkeypatch.setattr(measuring, "is_saturated", lambda *given: bool(judged.append(given)))
    ends = {"ramp_up_strategy": "linear", "ramp_up_start_rps": 50.0, "ramp_up_end_rps": 349.0}
    executed(session(loads=[300], workload={"burstiness": math.inf, "duration_s": 1.87, **ends}), tmp_path)
    for requests, rates in judged:
        assert len(rates) == len(requests) < 300  # time ended it
        assert rates == pytest.approx([50.0 + i for i in range(len(requests))])
    assert judged


def test_servers_that_do_not_start_again_fail_what_is_left(tmp_path):
    once = ("--once", str(tmp_path / "died"), "--then", "oom_load")
    found = executed(session("--fail", "die_after:10", *once, loads=(2, 3, 4)), tmp_path)
    assert verdicts(found) == {2: "server_died", 3: "oom_load", 4: "oom_load"}
    assert len(happened(tmp_path, "starting")) == 2


@pytest.mark.parametrize(("limit_s", "verdict"), [(60.0, "measured"), (0.05, "broken off")])
def test_after_a_run_that_was_broken_off_the_server_is_idle_before_the_next(tmp_path, monkeypatch, limit_s, verdict):
    """It may still work on what its client gave up: the next run would be INVALID for requests of others."""
    waits = []

    async def wait(servers):
        waits.append(servers)

    monkeypatch.setattr(Servers, "wait_until_idle", wait)
    monkeypatch.setattr(measuring, "load_timeout_s", lambda run: limit_s)
    found = executed(session(loads=(2,)), tmp_path)
    assert (found[2].metrics["failed"] == 0) is (verdict == "measured")
    assert len(waits) == (verdict == "broken off")


def test_a_load_process_that_is_lost_fails_its_run_only(tmp_path):
    def lose_the_client(event):
        if event.kind == "measuring" and event.facts["replies"] == 30:
            for pid in load_processes():
                os.kill(pid, signal.SIGKILL)

    found = executed(session(), tmp_path, lose_the_client)
    assert verdicts(found) == {2: "measured", 30: "client_failed", 40: "measured"}


def test_load_processes_that_do_not_start_fail_the_session_and_no_server_is_started(tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "uvloop.py").write_text("raise ImportError('built for another Python')")
    made = session()
    assert started(made, tmp_path, tmp_path / "broken").wait(PATIENCE_S) == 1
    said = (tmp_path / "said").read_text()
    found = records(made, tmp_path)
    assert verdicts(found) == {2: "client_failed", 30: "client_failed", 40: "client_failed"}
    assert found[2].failure.line.endswith("is gone: ImportError: built for another Python")
    assert "client_failed: load process" in said
    assert "Traceback" not in said
    assert happened(tmp_path, "starting") == []


def test_an_engine_that_cannot_be_started_at_all_is_a_recorded_failure(tmp_path):
    found = executed(session(command=["/nowhere/python", "vllm.py"], loads=(2,)), tmp_path)
    assert found[2].failure == Failure("engine_error", "engine.command=/nowhere/python: No such file or directory")


def test_a_secret_that_is_named_is_masked_even_if_it_reads_like_a_word(tmp_path, monkeypatch):
    monkeypatch.setenv("SITE_TOKEN", "quietlymeasured")
    executed(session("--log-line", "it is quietlymeasured", env_from=["SITE_TOKEN"], loads=(2,)), tmp_path)
    assert "\nit is ***\n" in (tmp_path / "server.log").read_text()


def test_what_failed_for_a_passing_reason_is_taken_up_again_and_what_failed_for_a_lasting_one_is_not(tmp_path):
    made = session()
    first = executed(made, tmp_path)
    for run, kind in zip(made.runs, ("server_died", "oom_load"), strict=False):
        (tmp_path / run.folder / RECORD).unlink()
        failed = Failure(kind, "as it was")
        Record(**{**vars(first[2]), "failure": failed, "run_key": run.key}).save(tmp_path / run.folder)
    again = executed(made, tmp_path)
    assert verdicts(again) == {2: "measured", 30: "oom_load", 40: "measured"}
    assert again[40] == first[40]
    aside = [Record.load(folder).failure for folder in tmp_path.glob(f"{made.runs[0].folder}.*")]  # INVALID ones too
    assert Failure("server_died", "as it was") in aside


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_job_that_the_scheduler_ends_ends_its_servers_records_nothing_half_and_goes_on_where_it_was(number, tmp_path):
    made = slow_session()
    job = started(made, tmp_path)
    wait_for(lambda: is_measuring(tmp_path, 30))
    os.kill(job.pid, number)
    assert job.wait(PATIENCE_S) == 128 + number
    assert events(tmp_path)[-1] == {"t": events(tmp_path)[-1]["t"], "event": "ended", "how": number.name}
    assert servers_of(tmp_path) == []
    assert "processes gone" in (tmp_path / "server.log").read_text()
    before = records(made, tmp_path)
    assert verdicts(before) == {2: "measured"}

    assert started(made, tmp_path).wait(PATIENCE_S) in (0, 1)  # 1: a busy machine may make a run INVALID
    after = records(made, tmp_path)
    assert verdicts(after) == {2: "measured", 30: "measured", 40: "measured"}
    assert after[2] == before[2]


def test_a_server_that_is_ended_with_its_job_is_no_failure_of_the_run(tmp_path):
    made = slow_session()
    job = started(made, tmp_path)
    wait_for(lambda: is_measuring(tmp_path, 30))
    for pid in [*servers_of(tmp_path), job.pid]:
        os.kill(pid, signal.SIGTERM)
    assert job.wait(PATIENCE_S) == 128 + signal.SIGTERM
    assert verdicts(records(made, tmp_path)) == {2: "measured"}


def test_a_session_interrupted_while_its_servers_start_records_nothing(tmp_path):
    made = session("--fail", "never_ready")
    job = started(made, tmp_path)
    wait_for(lambda: servers_of(tmp_path))
    os.kill(job.pid, signal.SIGTERM)
    assert job.wait(PATIENCE_S) == 128 + signal.SIGTERM
    assert servers_of(tmp_path) == []
    assert records(made, tmp_path) == {}


def started(made, folder, *path):
    """The session as a process of its own, with these folders before ours on its PYTHONPATH."""
    file = sessionfile.write(made, folder)
    packages = os.pathsep.join([*map(str, path), str(Path(__file__).parents[2])])
    with (folder / "said").open("w") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "vbench.session", str(file)],
            env={**os.environ, "PYTHONPATH": packages, "VBENCH_TEST": str(folder)},
            stdout=said,
            stderr=subprocess.STDOUT,
        )


def servers_of(folder):
    """Living servers that a session of this test started."""
    marks = (f"VBENCH_TEST={folder}".encode(), MARK.encode() + b"=")
    return [pid for pid in processes() if all(mark in read(pid, "environ") for mark in marks)]


def load_processes():
    return [
        pid for pid in processes() if b"vbench.loadgen.worker" in read(pid, "cmdline") and parent(pid) == os.getpid()
    ]


def processes():
    return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit()]


def parent(pid):
    return int(read(pid, "stat").rpartition(b")")[2].split()[1] or 0)


def read(pid, what):
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes()
    except OSError:  # gone since, or not ours
        return b""


def wait_for(happens):
    deadline = time.monotonic() + PATIENCE_S
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_larger_context_is_not_started_where_a_smaller_one_ran_out_of_memory(tmp_path):
    small, large = (session("--kv-cache-tokens", "1000", loads=(2, 3), max_model_len=length) for length in (2000, 4000))
    found = executed(small, tmp_path / small.folder)
    assert verdicts(found) == {2: "oom_kv", 3: "oom_kv"}
    skipped = executed(large, tmp_path / large.folder)
    assert verdicts(skipped) == {2: "skipped_larger", 3: "skipped_larger"}
    assert f"({small.folder}) failed with max_model_len=2000: oom_kv: ValueError: To serve" in skipped[2].failure.line
    assert happened(tmp_path / large.folder, "starting") == []
