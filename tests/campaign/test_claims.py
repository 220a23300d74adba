"""Several commands on the sessions of one experiment: each session gets one job, and all follow that one."""

from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import pytest
from builders import run_config

from vbench.campaign import claims
from vbench.campaign.jobfile import JOB, JobFile
from vbench.campaign.jobs import JobEnd, JobPhase, JobState
from vbench.campaign.jobs.local import Local
from vbench.campaign.jobs.queue import parse_listing
from vbench.campaign.submitting import Submitter
from vbench.campaign.task import Task, TaskState
from vbench.campaign.watching import Watcher
from vbench.plan.rules import check_run
from vbench.plan.sessions import plan
from vbench.schema import Launcher, Rerun
from vbench.schema.record import Failure, find_record
from vbench.watch.screen import Screen

ROOMY, ONE_AT_A_TIME = Launcher(), Launcher(max_parallel=1)


@dataclass(eq=False)
class Queue:
    """A scheduler whose jobs wait until the test ends them."""

    name = "slurm"
    on_this_host = False
    in_driver = False
    jobs: dict = field(default_factory=dict)
    ended: set = field(default_factory=set)

    def submit(self, batch):
        ids = [str(100 + len(self.jobs) + place) for place, _ in enumerate(batch)]
        self.jobs |= {job: each.session.folder for job, each in zip(ids, batch, strict=True)}
        return ids

    def states(self, ids):
        over = JobState(JobPhase.ended, JobEnd.failed, "FAILED")
        return {job: JobState(JobPhase.queued) if job in self.jobs.keys() - self.ended else over for job in ids}

    def cancel(self, ids): ...

    def describe_stop(self, job_id):
        return f"scancel {job_id}"

    def log(self, job_id, folder): ...


class Command:
    """One command on three sessions, driven by hand."""

    def __init__(self, queue, launcher=ROOMY, rerun=Rerun.none, sessions=3, retries=1):
        loads = {"lengths": "random", "input_len": 8, "output_len": 5}
        sizes = [1000 + 100 * place for place in range(sessions)]
        configs = [run_config(engine={"max_model_len": size}, workload=loads) for size in sizes]
        planned = plan((check_run(config), "unknown") for config in configs)
        self.tasks = [Task(each, Path("multirun") / each.experiment / each.folder, rerun) for each in planned]
        self.screen = Screen({task.folder: task.session for task in self.tasks})
        self.watcher = Watcher(self.tasks, queue, self.screen, Undelivered(), retries)
        self.submitter = Submitter(self.tasks, queue, launcher, self.watcher)
        claims.follow_living_jobs(self.tasks, queue)

    def jobs(self):
        return [task.job and task.job.file.id for task in self.tasks]

    def states(self):
        return {task.state for task in self.tasks}


class Undelivered:
    def add(self, folder): ...


@pytest.fixture
def queue(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Queue()


def test_a_command_that_took_stock_before_another_submitted_follows_the_jobs_of_that_one(queue, capsys):
    first, second = Command(queue), Command(queue)
    first.submitter.submit_admitted()
    second.submitter.submit_admitted()
    assert len(queue.jobs) == 3
    assert second.jobs() == first.jobs() == Command(queue).jobs()
    assert capsys.readouterr().out.count("attached to slurm job") == 3


def test_a_command_that_waits_for_room_does_not_submit_what_another_has_queued_meanwhile(queue):
    first, second = Command(queue, ONE_AT_A_TIME, sessions=1), Command(queue, ONE_AT_A_TIME, sessions=3)
    first.submitter.submit_admitted()
    second.submitter.submit_admitted()
    assert list(queue.jobs) == ["100"]
    assert second.jobs().count("100") == 1
    assert [task.state for task in second.tasks].count(TaskState.to_submit) == 2


def test_what_another_command_measures_again_is_not_measured_again_twice(queue):
    first, second = Command(queue, rerun=Rerun.all), Command(queue, rerun=Rerun.all)
    first.submitter.submit_admitted()
    second.submitter.submit_admitted()
    assert len(queue.jobs) == 3
    assert {task.rerun_pending for task in second.tasks} == {Rerun.none}


def test_of_two_commands_whose_job_fails_one_submits_it_again_and_the_other_follows(queue):
    first, second = Command(queue, sessions=1), Command(queue, sessions=1)
    first.submitter.submit_admitted()
    second.submitter.submit_admitted()
    queue.ended.add("100")
    first.watcher.collect()
    first.submitter.submit_admitted()
    second.watcher.collect()
    second.submitter.submit_admitted()
    assert list(queue.jobs) == ["100", "101"]
    assert second.jobs() == first.jobs() == ["101"]


def test_a_command_that_gives_up_records_no_failure_over_what_another_has_submitted_again(queue):
    first, second = Command(queue, sessions=1), Command(queue, sessions=1, retries=-1)
    first.submitter.submit_admitted()
    second.submitter.submit_admitted()
    queue.ended.add("100")
    first.watcher.collect()
    first.submitter.submit_admitted()
    second.watcher.collect()
    (task,) = second.tasks
    assert second.jobs() == ["101"]
    assert find_record(task.folder / task.session.runs[0].folder) is None


def test_a_campaign_that_has_ended_leaves_the_job_file_of_another_commands_job(queue):
    first, second = Command(queue, sessions=2), Command(queue, sessions=1)
    second.submitter.submit_admitted()
    for task in first.tasks:
        task.finish()
    (first.tasks[1].folder).mkdir(parents=True)
    JobFile.create("slurm", Rerun.none, "7").write(first.tasks[1].folder)
    claims.forget(first.tasks, queue)
    assert [(task.folder / JOB).exists() for task in first.tasks] == [True, False]
    assert first.states() == {TaskState.done}
    assert Command(queue, sessions=1).jobs() == ["100"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"launcher": "os", "rerun": "", "id": "", "submitted_at": ""}'])
def test_a_job_file_that_is_cut_or_foreign_names_no_job(queue, text):
    (task, *_) = Command(queue).tasks
    task.folder.mkdir(parents=True)
    (task.folder / JOB).write_text(text)
    command = Command(queue)
    assert command.jobs() == [None] * 3
    command.submitter.submit_admitted()
    assert len(queue.jobs) == 3


def test_the_id_of_a_local_job_that_is_no_pid_is_of_no_process(tmp_path):
    for job in ("x@", "²@", "", "@", "-1@"):
        assert Local().states([f"{job}{tmp_path}"]).popitem()[1].phase is JobPhase.ended


@pytest.fixture
def ended_job(queue, tmp_path, monkeypatch):
    """A command whose only job has ended and printed what the test says, and what the command then says."""

    def say(*printed, failure=None):
        log = tmp_path / "log"
        log.write_text("\n".join(printed))
        monkeypatch.setattr(queue, "log", lambda *_: log, raising=False)
        command = Command(queue, sessions=1)
        command.submitter.submit_admitted()
        (task,) = command.tasks
        if failure:
            task.results.record_failure(task.session.runs[0], failure, datetime.now(timezone.utc))
        queue.ended.add(task.job.file.id)
        command.watcher.collect()
        return command

    return say


DONE = "submitit INFO (2026-11-27 11:45:51,356) - Exiting after successful completion"


def test_a_job_that_recorded_why_it_failed_is_tried_again_with_that_reason(ended_job, capsys):
    ended_job(DONE, failure=Failure("unreachable", "nobody answers at http://h:1"))
    assert "retrying 1 run: unreachable: nobody answers at http://h:1" in capsys.readouterr().out


@pytest.mark.parametrize("words", ["[rank0]: CUDA error", "[/red] closes nothing"])
def test_the_last_words_of_a_job_are_shown_and_recorded_as_they_are(ended_job, capsys, words):
    command = ended_job(words, DONE)
    assert f"retrying 1 run: failed: FAILED: {words} (log: " in " ".join(capsys.readouterr().out.split())
    command.watcher._retries = 0
    (task,) = command.tasks
    command.submitter.submit_admitted()
    command.watcher._jobs.ended.add(task.job.file.id)
    command.watcher.collect()
    assert find_record(task.folder / task.session.runs[0].folder).failure.line.startswith(
        f"its job ended (failed) before it was measured: FAILED: {words}"
    )


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("OUT_OF_MEMORY", "oom_host"),
        ("NODE_FAIL", "node_failed"),
        ("FAILED", "client_failed"),
        ("TIMEOUT", "time_limit"),
        ("PREEMPTED", "preempted"),
        ("CANCELLED", "cancelled"),
    ],
)
def test_the_scheduler_s_word_for_an_end_becomes_the_kind_of_failure(queue, word, kind):
    (task,) = Command(queue, sessions=1).tasks
    task.record_unmeasured(parse_listing(f"1|{word}|")["1"])
    assert find_record(task.folder / task.session.runs[0].folder).failure.kind == kind
