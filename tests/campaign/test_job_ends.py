"""What a session's runs become when its job ends without them, and when a cut job has reached its time limit."""

import asyncio
import json
import os
import signal
from datetime import datetime, timezone
from types import SimpleNamespace

import pytest
from builders import run_config

from vbench.campaign.jobs import JobEnd, JobPhase, JobState, batch, entry, local
from vbench.campaign.jobs.batch import ATTEMPT, Attempt
from vbench.campaign.jobs.queue import OwnJob
from vbench.campaign.task import Job, Task, states, to_submit
from vbench.host.interrupts import Interrupted, Interrupts
from vbench.plan.rules import check_run
from vbench.plan.sessions import plan
from vbench.schema import Rerun
from vbench.schema.failures import TRANSIENT
from vbench.schema.record import RECORD, Failure, find_record


@pytest.fixture
def task(tmp_path):
    loads = [run_config(workload={"num_prompts": n}) for n in (4, 8)]
    (session,) = plan((check_run(load), "vllm 1") for load in loads)
    return Task(session, tmp_path / session.folder, Rerun.none)


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (JobEnd.completed, "client_failed"),
        (JobEnd.failed, "client_failed"),
        (JobEnd.lost, "client_failed"),
        (JobEnd.cancelled, "cancelled"),
        (JobEnd.time_limit, "time_limit"),
        (JobEnd.preempted, "preempted"),
        (JobEnd.out_of_memory, "oom_host"),
        (JobEnd.node_failed, "node_failed"),
        (None, "client_failed"),
    ],
)
def test_runs_without_a_record_fail_by_how_their_job_ended_and_may_be_retried(task, end, kind):
    task.record_unmeasured(JobState(JobPhase.ended, end))
    failures = [find_record(task.folder / run.folder).failure for run in task.session.runs]
    assert {failure.kind for failure in failures} == {kind}
    assert kind in TRANSIENT


def test_what_is_recorded_is_not_overwritten_when_the_job_ends(task):
    first, second = task.session.runs
    task.results.record_failure(first, Failure("oom_load", "CUDA out of memory"), datetime.now(timezone.utc))
    task.record_unmeasured(JobState(JobPhase.ended, JobEnd.preempted))
    kinds = [find_record(task.folder / run.folder).failure.kind for run in (first, second)]
    assert kinds == ["oom_load", "preempted"]
    assert task.why_missing(JobState(JobPhase.ended, JobEnd.preempted, "PREEMPTED")) == (
        "preempted: its job ended (preempted) before it was measured: it printed nothing"
    )


def test_why_runs_are_missing_is_how_the_job_ended_where_they_have_no_record(task):
    first, _ = task.session.runs
    task.results.record_failure(first, Failure("server_died", "killed"), datetime.now(timezone.utc))
    why = task.why_missing(JobState(JobPhase.ended, JobEnd.node_failed, "NODE_FAIL"))
    assert why == "server_died: killed; node_failed: NODE_FAIL"


def test_wide_sessions_are_submitted_first_and_of_these_the_longest():
    configs = [run_config(workload={"num_prompts": n}) for n in (4, 400)]
    configs.append(run_config(hardware={"gpus": 2}, parallelism={"tensor_parallel_size": 2}))
    one = [Task(session, None, Rerun.none) for config in configs for session in plan([(check_run(config), "v")])]
    assert [task.order for task in sorted(one, key=lambda task: task.order)] == [
        one[2].order,
        one[1].order,
        one[0].order,
    ]


def test_no_server_is_started_again_before_all_others_were_started_once():
    lengths = [run_config(engine={"restarts": 2, "max_model_len": length}) for length in (1000, 2000)]
    wide = run_config(hardware={"gpus": 2}, parallelism={"tensor_parallel_size": 2}, engine={"restarts": 2})
    sessions = plan((check_run(config), "v") for config in [*lengths, wide])
    asked = to_submit([Task(session, None, Rerun.none) for session in sessions])
    told = [(task.session.engine.restart, task.resources.gpus, task.session.engine.max_model_len) for task in asked]
    assert told == [(restart, *each) for restart in (0, 1) for each in ((2, 2000), (0, 1000), (0, 2000))]


def test_a_job_that_has_no_id_yet_is_alive_while_its_session_is_locked(task, monkeypatch):
    class Backend:
        name = "slurm"

        def states(self, ids):
            return {each: JobState(JobPhase.queued) for each in ids}

    backend = Backend()
    jobs = [Job(backend, SimpleNamespace(id=number), task.folder) for number in ("7", "")]
    assert [state.phase for state in states(jobs)] == [JobPhase.queued, JobPhase.ended]
    monkeypatch.setattr("vbench.session.sessionfile.is_held", lambda folder: True)
    assert [state.phase for state in states(jobs)] == [JobPhase.queued, JobPhase.running]


@pytest.mark.parametrize(("elapsed_s", "near"), [(3449, False), (3450, False), (3451, True), (3600, True)])
def test_a_job_is_near_its_time_limit_in_its_last_150_seconds(elapsed_s, near):
    assert OwnJob("RUNNING", elapsed_s, 3600).is_near_limit is near


def test_an_attempt_counts_only_starts_of_the_same_job_that_recorded_nothing(tmp_path):
    def begin(job):
        attempt = Attempt.begin(tmp_path, job)
        attempt.write(tmp_path)
        return attempt.number

    assert [begin("7"), begin("7"), begin("8"), begin("8")] == [1, 2, 1, 2]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / RECORD).write_text("{}")
    assert [begin("8"), begin("8"), begin("8"), begin("8")] == [1, 2, 3, 4]


def read_attempt(folder):
    return json.loads((folder / ATTEMPT).read_text())


def start_and_signal(folder, number):
    """A job whose session gets this signal; what its file says while its servers end."""
    noted = []

    async def story():
        try:
            os.kill(os.getpid(), number)
            await asyncio.sleep(10)
        finally:
            noted.append(read_attempt(folder)["ended"])

    def run_and_deliver(_path):
        with Interrupts() as interrupts:
            interrupts.run(story())

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(entry, "run_and_deliver", run_and_deliver)
        with pytest.raises(Interrupted):
            batch.job(str(folder / "session.json"))
    return noted


@pytest.fixture
def slurm_says(tmp_path, monkeypatch):
    """squeue and scontrol that print what the test wants; what scontrol was asked."""
    (tmp_path / "bin").mkdir()
    asked = tmp_path / "asked"

    def say(squeue, scontrol="", code=0):
        for name, script in (
            ("squeue", f"echo '{squeue}'"),
            ("scontrol", f'echo "$@" >> {asked}; echo "{scontrol}" >&2; exit {code}'),
        ):
            (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / "bin" / name).chmod(0o755)
        return lambda: asked.read_text().splitlines() if asked.exists() else []

    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    for key, value in {"JOB_ID": "7", "ARRAY_JOB_ID": "5", "ARRAY_TASK_ID": "1"}.items():
        monkeypatch.setenv(f"SLURM_{key}", value)
    return say


@pytest.fixture
def session_folder(tmp_path):
    for name in ("session", "slurm"):
        (tmp_path / name).mkdir()
    return tmp_path / "session"


@pytest.mark.parametrize(
    ("number", "squeue", "causes", "kind"),
    [
        (
            signal.SIGUSR2,
            "RUNNING|59:50|1:00:00",
            ["NODE FAILURE"],
            "time_limit",
        ),  # the log's line is an earlier start's
        (signal.SIGUSR2, "RUNNING|16:40|1:00:00", [], "preempted"),
        (signal.SIGTERM, "SIGNALING|16:40|1:00:00", [], "preempted"),
        (signal.SIGTERM, "", [], "preempted"),
        (signal.SIGTERM, "COMPLETING|16:40|1:00:00", ["NODE FAILURE", "PREEMPTION"], "preempted"),
        (
            signal.SIGTERM,
            "COMPLETING|16:40|1:00:00",
            ["JOB REQUEUE", "NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS"],
            "node_failed",
        ),
        (None, "", [], "node_failed"),
    ],
)
def test_the_next_start_of_a_job_says_to_its_end_how_the_one_before_was_ended(
    number, squeue, causes, kind, slurm_says, session_folder, monkeypatch
):
    said = [f"slurmstepd-n0: error: *** STEP 7.0 ON n0 CANCELLED AT 2026-01-01T00:00:00 DUE TO {c} ***" for c in causes]
    batch.log_path("5_1", session_folder).write_text("\n".join([*said, "submitit WARNING - Bypassing signal SIGCONT"]))
    asked = slurm_says(squeue)
    if number is None:  # killed together with its node
        Attempt.begin(session_folder, "7").write(session_folder)
    else:
        assert start_and_signal(session_folder, number) == ["preempted"]  # it may be killed while its servers end
    # As a task of its array: SLURM's own id of an array's last task stands for all of them.
    assert asked() == ["requeue incomplete 5_1"] * (number is not None and "COMPLETING" not in squeue)
    monkeypatch.setattr(entry, "run_and_deliver", lambda _path: None)
    batch.job(str(session_folder / "session.json"))
    assert read_attempt(session_folder) == {"job": "7", "recorded": 0, "number": 2, "cut": kind, "ended": None}


@pytest.mark.parametrize(
    ("squeue", "scontrol", "code", "printed"),
    [
        ("RUNNING|1:00|1:00:00", "", 0, "SIGTERM; requeued (state before: RUNNING)"),
        (
            "COMPLETING|1:00|1:00:00",
            "",
            0,
            "SIGTERM; not requeued by itself: SLURM has decided about it already (state COMPLETING)",
        ),
        (
            "SIGNALING|1:00|1:00:00",
            "Requested operation is presently disabled for job 7",
            1,
            "SIGTERM; not requeued: Requested operation is presently disabled for job 7 (state before: SIGNALING)",
        ),
        ("", "Job is pending execution for job 7", 1, "requeued (state before: unknown, as squeue does not answer)"),
        ("", "", 3, "SIGTERM; not requeued: scontrol ended with 3"),
    ],
)
def test_a_job_that_is_cut_short_prints_whether_it_is_requeued_and_why_not(
    squeue, scontrol, code, printed, slurm_says, session_folder, capfd
):
    slurm_says(squeue, scontrol, code)
    start_and_signal(session_folder, signal.SIGTERM)
    assert printed in capfd.readouterr().out


def test_a_signal_that_a_scheduler_repeats_does_not_cut_short_what_the_job_does_about_the_first():
    reached = []

    def end_in_the_outer_block():
        try:
            with Interrupts():
                os.kill(os.getpid(), signal.SIGTERM)
        except Interrupted:
            os.kill(os.getpid(), signal.SIGTERM)
            reached.append("requeue")
            raise

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted), Interrupts():
        end_in_the_outer_block()
    assert reached
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_job_that_is_signalled_before_its_session_begins_is_requeued_too(slurm_says, session_folder, monkeypatch):
    asked = slurm_says("RUNNING|0:01|1:00:00")
    monkeypatch.setattr(Attempt, "write", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted):
        batch.job(str(session_folder / "session.json"))
    assert asked() == ["requeue incomplete 5_1"]


@pytest.fixture
def of_terminal():
    """Sets what the end of the terminal does, for the test."""
    before = signal.getsignal(signal.SIGHUP)
    yield lambda handler: signal.signal(signal.SIGHUP, handler)
    signal.signal(signal.SIGHUP, before)


def test_the_end_of_its_terminal_ends_a_session_with_its_servers(of_terminal):
    def unheeded(*_):
        raise AssertionError("the process would have died, and left its servers on the GPUs")

    of_terminal(unheeded)
    with pytest.raises(Interrupted) as ended, Interrupts():
        os.kill(os.getpid(), signal.SIGHUP)
    assert (ended.value.signal, ended.value.code) == (signal.SIGHUP, 129)
    assert signal.getsignal(signal.SIGHUP) is unheeded


def test_a_session_under_nohup_outlives_its_terminal(of_terminal):
    of_terminal(signal.SIG_IGN)
    with Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not interrupts.ended
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_nothing_that_a_terminal_sends_to_its_foreground_reaches_a_local_job():
    before = signal.getsignal(signal.SIGTSTP)
    with local._detach_children():
        found = {number: signal.getsignal(number) for number in local.OF_TERMINAL}
    assert found == dict.fromkeys((signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP), signal.SIG_IGN)
    assert signal.getsignal(signal.SIGTSTP) is before
