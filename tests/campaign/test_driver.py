"""A campaign under a driver: its jobs outlive it, and the same command loses nothing and measures nothing twice."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from doors import TIMEOUT_S, driver, events, fake, host, pids, run_folders, until, vbench

from vbench import tracking
from vbench.schema.record import Record
from vbench.session.sessionfile import is_held

LOADS = ("-m", "workload.num_prompts=2,3,4", "workload=random", "workload.input_len=8", "workload.output_len=100")
SLOW = fake("--itl-s", "0.02", "--start-s", "0.5")  # two seconds a point
POINT = ("workload.num_prompts=2", "workload=random", "workload.output_len=5", fake("--itl-s", "0.05"))
GPUS = "NVIDIA H100 80GB HBM3,NVIDIA H100 80GB HBM3"


def records(home: Path, verdict: str = "") -> list[Record]:
    found = [Record.load(path.parent) for path in sorted(home.glob("multirun/*/*/*/record.json"))]
    return [record for record in found if verdict in ("", record.verdict)]


def points(home: Path) -> list[Record]:
    """Those that stand: a run whose client lagged, as on a busy host, is put aside and measured again at once."""
    return [Record.load(folder) for folder in run_folders(home)]


def times_filed(home: Path, monkeypatch) -> Counter[str]:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlruns/mlflow.db")
    return Counter(tracking.query()["tags.vbench.run_key"])


def folder(home: Path) -> Path:
    (path,) = home.glob("multirun/*/*/session.json")
    return path.parent


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def paused(home: Path) -> Iterator[list[int]]:
    """Its jobs, as if they took longer than whatever the test does meanwhile."""
    stopped = pids(home)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    yield stopped
    resume(stopped)


def resume(jobs: list[int]) -> None:
    for pid in jobs:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def attached(home: Path, jobs: list[int]) -> None:
    """The same command again: it attaches to the jobs, which then go on, and sees the campaign to its end."""
    with driver(*LOADS, SLOW, cwd=home) as again:
        assert again.stdout
        until(lambda: "attached to local job" in again.stdout.readline())
        resume(jobs)
        again.communicate(timeout=TIMEOUT_S)


@pytest.fixture
def campaign(tmp_path) -> Iterator[subprocess.Popen[str]]:
    """A driver whose first point is recorded and whose second is not."""
    with driver(*LOADS, SLOW, cwd=tmp_path) as process:
        until(lambda: events(tmp_path, "recorded"))  # which is told of no record that is put aside
        yield process
        for pid in (process.pid, *pids(tmp_path)):
            kill(pid)


def same_again(home: Path, *words: str) -> str:
    ended = vbench(*LOADS, SLOW, *words, cwd=home)
    assert not records(home, "FAILED"), ended.stdout
    assert "Traceback" not in ended.stderr
    return ended.stdout


def test_a_driver_that_is_killed_leaves_its_job_to_the_next_one_which_attaches(campaign, tmp_path, monkeypatch):
    with paused(tmp_path) as jobs:
        campaign.kill()
        attached(tmp_path, jobs)
    assert len(events(tmp_path, "starting")) == 1
    assert len(points(tmp_path)) == 3
    assert set(times_filed(tmp_path, monkeypatch).values()) == {1}
    assert not (folder(tmp_path) / "job.json").exists()
    assert not pids(tmp_path)


def test_what_a_job_measured_after_its_driver_was_killed_is_collected_and_filed(campaign, tmp_path, monkeypatch):
    campaign.kill()
    until(lambda: not is_held(folder(tmp_path)))
    said = same_again(tmp_path)
    assert "3 of 3 points already recorded" in said
    assert len(events(tmp_path, "starting")) == 1
    assert sorted(times_filed(tmp_path, monkeypatch).values()) == [1, 1, 1]


def test_a_job_that_is_killed_goes_on_at_the_next_point_under_the_same_driver(campaign, tmp_path, monkeypatch):
    for pid in pids(tmp_path):
        kill(pid)
    said, _ = campaign.communicate(timeout=TIMEOUT_S)
    assert re.search(r"retrying \d runs?: lost", said)
    assert len(points(tmp_path)) == 3
    assert all(record.failure is None for record in records(tmp_path))
    assert sorted(times_filed(tmp_path, monkeypatch).values()) == [1, 1, 1]


def test_a_job_and_its_driver_that_are_killed_are_both_made_good_by_the_same_command(campaign, tmp_path, monkeypatch):
    campaign.kill()
    for pid in pids(tmp_path):
        kill(pid)
    measured = len(points(tmp_path))
    said = same_again(tmp_path)
    assert f"{measured} of 3 points already recorded" in said
    assert len(points(tmp_path)) == 3
    assert sorted(times_filed(tmp_path, monkeypatch).values()) == [1, 1, 1]


def test_ctrl_c_detaches_and_says_how_to_look_and_to_collect(campaign, tmp_path):
    with paused(tmp_path) as jobs:
        os.killpg(campaign.pid, signal.SIGINT)  # as a terminal does: to all of its foreground group
        said, _ = campaign.communicate(timeout=TIMEOUT_S)
        assert campaign.returncode == 130
        assert "events.jsonl" in said
        assert "run the same command again" in said
        attached(tmp_path, jobs)
    assert len(events(tmp_path, "starting")) == 1
    assert len(points(tmp_path)) == 3


def test_ctrl_c_twice_and_yes_ends_the_job_and_keeps_what_it_measured(tmp_path):
    endless = ("-m", "workload.num_prompts=1,1000", "workload.max_concurrency=1", "workload=random", fake())
    with driver(*endless, "workload.output_len=100", cwd=tmp_path) as campaign:
        until(lambda: any(event["replies"] == 1000 for event in events(tmp_path, "measuring")))
        os.killpg(campaign.pid, signal.SIGINT)
        assert campaign.stdout
        until(lambda: "detaching" in campaign.stdout.readline())
        os.killpg(campaign.pid, signal.SIGINT)
        said, _ = campaign.communicate("y\n", timeout=TIMEOUT_S)
    assert campaign.returncode == 130
    assert not pids(tmp_path)
    measured, cancelled = sorted(points(tmp_path), key=lambda record: record.verdict == "FAILED")
    assert measured.failure is None
    assert cancelled.failure
    assert cancelled.failure.kind == "cancelled"
    assert "next: run the same command again to measure 1 run: cancelled" in said
    assert "transient" not in said


def test_what_ctrl_c_leaves_running_is_said_and_ends_by_the_line_that_it_prints(tmp_path):
    endless = ("workload.num_prompts=1000", "workload.max_concurrency=1", "workload=random", fake())
    with driver(*endless, "workload.output_len=100", cwd=tmp_path) as campaign:
        until(lambda: events(tmp_path, "measuring"))
        os.killpg(campaign.pid, signal.SIGINT)
        said, _ = campaign.communicate(timeout=TIMEOUT_S)
    assert "detaching: 1 job goes on in the background" in said
    assert pids(tmp_path)
    (stop,) = re.findall("to stop what goes on:  (.+)", said)
    subprocess.run(stop, shell=True, check=True)
    until(lambda: not pids(tmp_path))
    assert [event["how"] for event in events(tmp_path, "ended")] == ["SIGTERM"]


def test_detached_sessions_are_submitted_and_the_same_command_collects_them(tmp_path, monkeypatch):
    ended = vbench(*LOADS, SLOW, "launcher.detach=true", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "run the same command again" in ended.stdout
    assert "job" in ended.stdout
    same_again(tmp_path)
    assert len(events(tmp_path, "starting")) == 1
    assert sorted(times_filed(tmp_path, monkeypatch).values()) == [1, 1, 1]


def test_two_sessions_run_at_once_on_gpus_of_their_own(tmp_path):
    hold = tmp_path / "hold"
    hold.touch()
    words = ("-m", "hardware=1xh100", "engine.max_num_seqs=100,200", "workload.num_prompts=4", "workload=random")
    with driver(*words, fake("--itl-s", "0.02", "--hold", str(hold)), cwd=tmp_path, gpus=GPUS) as command:
        until(lambda: len(events(tmp_path, "leased")) == 2)  # neither ends before both have begun
        hold.unlink()
        said, _ = command.communicate(timeout=TIMEOUT_S)
    assert command.returncode in (0, 1), said  # a busy host may make a run INVALID
    one, two = points(tmp_path)
    assert one.environment["gpu_uuids"] != two.environment["gpu_uuids"]
    leased, over = ([event["t"] for event in events(tmp_path, kind)] for kind in ("leased", "ended"))
    assert len(leased) == len(over) == 2
    assert max(leased) < min(over)


def test_rerun_measures_again_what_it_names_and_no_more(tmp_path):
    words = ("-m", "workload.num_prompts=3,40", "workload=random", "workload.output_len=5")
    dying = fake("--itl-s", "0.05", "--fail", "short_reply")
    vbench(*words, dying, cwd=tmp_path)
    assert [record.verdict for record in records(tmp_path)] == ["INVALID"] * 2
    for word, again in (("rerun=false", 0), ("rerun=failed", 0), ("rerun=invalid", 2), ("rerun=all", 2)):
        before = len(records(tmp_path))
        vbench(*words, dying, word, cwd=tmp_path)
        assert len(records(tmp_path)) - before == again, word


def test_a_failure_that_lasts_is_known_until_it_is_asked_for_again(tmp_path):
    words = ("workload.num_prompts=2", "workload=random", fake("--fail", "oom_kv"))
    for word, made in (("rerun=false", 1), ("rerun=invalid", 1), ("rerun=failed", 2)):
        assert vbench(*words, word, cwd=tmp_path).returncode == 1
        assert len(records(tmp_path, "FAILED")) == made, word


def test_a_failure_that_passes_is_taken_up_again_and_then_by_the_same_command(tmp_path):
    words = ("workload.num_prompts=2", "workload=random", fake("--fail", "never_ready"), "engine.start_timeout_s=0.5")
    ended = vbench(*words, cwd=tmp_path)
    assert "retrying 1 run\n" in ended.stdout
    assert len(records(tmp_path, "FAILED")) == 2
    ended = vbench(*words, "launcher.retries=0", cwd=tmp_path)
    assert "retrying" not in ended.stdout
    assert len(records(tmp_path, "FAILED")) == 3


def test_what_only_the_store_knows_is_not_measured_again(tmp_path):
    words = ("workload.num_prompts=2", "workload=random", "workload.output_len=5", fake("--itl-s", "0.05"))
    vbench(*words, cwd=tmp_path)
    (tmp_path / "multirun").rename(tmp_path / "elsewhere")
    ended = vbench(*words, cwd=tmp_path)
    assert "1 of 1 points already recorded" in ended.stdout
    assert "2 prompts" in ended.stdout.split("verdict")[1]
    assert not records(tmp_path)


def test_records_that_could_not_be_filed_are_filed_by_ingest_once(tmp_path, monkeypatch):
    out_of_reach = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    words = ("workload.num_prompts=2,3", "workload=random", "workload.output_len=5", fake("--itl-s", "0.05"))
    ended = vbench("-m", *words, cwd=tmp_path, **out_of_reach)
    assert ended.stdout.count("not filed") == 1
    assert "-m vbench ingest multirun" in ended.stdout
    for _ in range(2):
        assert vbench("multirun", cwd=tmp_path, module="vbench.ingest").returncode == 0
    assert sorted(times_filed(tmp_path, monkeypatch).values()) == [1, 1]


def test_inline_sessions_run_in_the_driver_and_leave_no_job(tmp_path):
    ended = vbench(*LOADS, "hydra/launcher=inline", fake("--itl-s", "0.01"), cwd=tmp_path)
    assert len(points(tmp_path)) == 3, ended.stderr
    assert "starting 1 server for 3 points" in ended.stdout
    assert not (folder(tmp_path) / "job").exists()


def test_a_session_that_is_measured_by_hand_is_waited_for_and_not_measured_twice(campaign, tmp_path):
    campaign.send_signal(signal.SIGKILL)
    for pid in pids(tmp_path):
        kill(pid)
    with driver(str(folder(tmp_path) / "session.json"), cwd=tmp_path, module="vbench.session"):
        until(lambda: is_held(folder(tmp_path)))
        (folder(tmp_path) / "job.json").unlink()
        same_again(tmp_path)
    assert len(points(tmp_path)) == 3


def test_a_job_ends_at_its_time_limit_and_says_so(campaign, tmp_path):
    campaign.kill()
    for pid in pids(tmp_path):
        kill(pid)
    path = folder(tmp_path) / "session.json"
    code = f"from vbench.session import run_job; run_job({str(path)!r}, 0.01)"
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=host(tmp_path), check=False, timeout=TIMEOUT_S
    )
    assert ended.returncode != 0
    assert events(tmp_path, "ended")[-1]["how"] == "SIGUSR2"
    assert len(points(tmp_path)) < 3


def setup(*lines: str) -> str:
    return f"launcher.setup=[{','.join(map(repr, lines))}]"


def test_a_job_begins_with_the_lines_of_its_setup_which_print_export_and_load_files(tmp_path):
    (tmp_path / "site.sh").write_text("export SLURMD_NODENAME=$RACK-7\n")
    ended = vbench(
        *POINT, setup("echo loading  # what", "export RACK=r3", ". ./site.sh", "false || true"), cwd=tmp_path
    )
    assert ended.returncode in (0, 1), ended.stdout + ended.stderr  # a busy host may make a run INVALID
    (record,) = points(tmp_path)
    assert record.failure is None
    assert record.environment["slurm_node"] == "r3-7"
    (log,) = (folder(tmp_path) / "job").glob("*.out")
    assert log.read_text().startswith("loading\n")
    assert not pids(tmp_path)


def test_a_setup_that_fails_is_told_with_its_own_words_and_nothing_is_measured(tmp_path):
    ended = vbench(*POINT, setup("module-load cuda", "echo not reached"), "launcher.retries=1", cwd=tmp_path)
    assert ended.returncode == 1
    assert re.search("retrying 1 run: lost: .*module-load: command not found", ended.stdout)
    (failed,) = records(tmp_path)
    assert failed.failure
    assert failed.failure.kind == "client_failed"
    assert "module-load: command not found" in failed.failure.line
    assert "module-load: command not found" in ended.stdout


def test_a_job_that_waits_in_its_setup_can_be_cancelled(tmp_path):
    with driver(*POINT, setup("touch begun", "while true; do sleep 0.1; done"), cwd=tmp_path) as campaign:
        until((tmp_path / "begun").exists)
        os.killpg(campaign.pid, signal.SIGINT)
        assert campaign.stdout
        until(lambda: "detaching" in campaign.stdout.readline())
        os.killpg(campaign.pid, signal.SIGINT)
        said, _ = campaign.communicate("y\n", timeout=TIMEOUT_S)
    assert campaign.returncode == 130, said
    assert not pids(tmp_path)
    assert [record.failure.kind for record in records(tmp_path, "FAILED") if record.failure] == ["cancelled"]


@pytest.mark.parametrize("allocation", [{}, {"SLURM_JOB_ID": "1"}])
def test_a_job_whose_host_lacks_what_the_driver_saw_fails_with_a_line_of_its_own(tmp_path, allocation):
    lost = ("hardware=1xh100", setup("export FAKE_GPUS="), "launcher.retries=0")
    ended = vbench(*POINT, *lost, cwd=tmp_path, gpus="NVIDIA H100 80GB HBM3", **allocation)
    assert ended.returncode == 1
    assert "gpu_lost: 1 run of" in ended.stdout
    assert "hardware=1xh100: this host has 0 of the 1 GPUs (no GPU here)" in ended.stdout
    assert "SLURM gave this job" not in ended.stdout
    assert "Refused" not in ended.stdout
    assert [record.failure.kind for record in records(tmp_path) if record.failure] == ["gpu_lost"]


def test_a_gpu_that_vanishes_inside_a_users_own_allocation_is_tried_again(tmp_path):
    once = "[ -e seen ] && export FAKE_GPUS='NVIDIA H100 80GB HBM3' || { touch seen; export FAKE_GPUS=; }"
    ended = vbench(*POINT, "hardware=1xh100", setup(once), cwd=tmp_path, gpus="NVIDIA H100 80GB HBM3", SLURM_JOB_ID="1")
    assert "retrying" in ended.stdout, ended.stdout
    assert [record.failure for record in points(tmp_path)] == [None]
    assert [record.failure.kind for record in records(tmp_path, "FAILED") if record.failure] == ["gpu_lost"]


# What submitit finds in a job that it gave to SLURM.
BY_SLURM = (
    "export SUBMITIT_EXECUTOR=slurm SLURM_JOB_ID=$SUBMITIT_LOCAL_JOB_ID SLURM_JOB_NUM_NODES=1 SLURM_NTASKS=1 "
    "SLURM_NODEID=0 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_JOB_NODELIST=here"
)


@pytest.mark.parametrize("found", ["", "NVIDIA A100-SXM4-80GB"])
def test_a_node_that_has_no_such_gpu_is_not_tried_again(tmp_path, found):
    node = ("hardware=1xh100", setup(BY_SLURM, f"export FAKE_GPUS='{found}'"))
    ended = vbench(*POINT, *node, cwd=tmp_path, gpus="NVIDIA H100 80GB HBM3")
    assert ended.returncode == 1
    assert [record.failure.kind for record in records(tmp_path) if record.failure] == ["no_gpu"]
    assert "retrying" not in ended.stdout
    assert "transient" not in ended.stdout
    assert "next: add rerun=failed to measure 1 run again: FAILED" in ended.stdout


def test_a_job_whose_file_it_cannot_read_says_so_in_one_line(tmp_path):
    # What becomes of a job that waits in a queue while vbench is replaced by another version.
    spoil = setup("sed -i s/num_prompts/number_of_prompts/ multirun/*/*/session.json")
    ended = vbench(*POINT, spoil, "launcher.retries=0", cwd=tmp_path)
    assert ended.returncode == 1
    assert "client_failed: 1 run of" in ended.stdout
    assert "session.json: not a session file ('workload.number_of_prompts: no such key')" in ended.stdout
    assert "Refused" not in ended.stdout


def test_commands_that_begin_together_keep_the_bound_of_their_experiment_together(tmp_path):
    words = ("workload=random", "workload.num_prompts=2", "workload.output_len=20", "launcher.max_parallel=1")
    commands = [driver(*words, SLOW, f"engine.max_num_seqs={seats}", cwd=tmp_path) for seats in (8, 9, 10)]
    for command in commands:
        said, _ = command.communicate(timeout=TIMEOUT_S)
        assert command.returncode in (0, 1), said  # a busy host may make a run INVALID
    assert [record.failure for record in points(tmp_path)] == [None] * 3
    submitted = sorted(path.stat().st_mtime for path in tmp_path.glob("multirun/*/*/job/*_submitted.pkl"))
    ended = sorted(event["t"] for event in events(tmp_path, "ended"))
    assert len(submitted) == len(ended) == 3
    assert all(begin > end for begin, end in zip(submitted[1:], ended, strict=False))
