"""What SLURM's commands print, read: no SLURM is needed for it."""

import math
from pathlib import Path

import pytest
from builders import run_config

from vbench.campaign.jobs import JobEnd, JobPhase, JobState, Submission, backend, queue, slurm
from vbench.plan.resources import resources
from vbench.plan.rules import check_run
from vbench.plan.sessions import plan
from vbench.schema.errors import Refused


def test_a_line_of_the_queue_becomes_a_state_with_why_it_waits_or_where_it_runs():
    listing = "7|PENDING|Priority|\n8_0|RUNNING|None|h100n1\n8_1|COMPLETING|None|h100n1\n9|TIMEOUT|TimeLimit|h100n0\n"
    assert queue.parse_listing(listing) == {
        "7": JobState(JobPhase.queued, detail="Priority"),
        "8_0": JobState(JobPhase.running, detail="h100n1"),
        "8_1": JobState(JobPhase.running, detail="h100n1"),
        "9": JobState(JobPhase.ended, JobEnd.time_limit, "TIMEOUT"),
    }


def test_a_job_that_ran_more_than_once_is_what_its_last_line_says():
    assert queue.parse_listing("7|PREEMPTED\n7|COMPLETED\n")["7"].end is JobEnd.completed


@pytest.mark.parametrize(
    ("listed", "tasks"),
    [("[0-2,7%2]", (0, 1, 2, 7)), ("[3]", (3,)), ("[0-6:3]", (0, 3, 6)), ("[5,8-9,1...]", (5, 8, 9))],
)
def test_accounting_tells_of_the_jobs_of_an_array_that_never_started_in_one_line(listed, tasks):
    assert queue.parse_listing(f"7_{listed}|CANCELLED by 0\n") == {
        f"7_{task}": JobState(JobPhase.ended, JobEnd.cancelled, "CANCELLED") for task in tasks
    }


@pytest.mark.parametrize(
    ("said", "end"),
    [
        ("CANCELLED by 1000", JobEnd.cancelled),
        ("CANCELLED+", JobEnd.cancelled),
        ("PREEMPTED", JobEnd.preempted),
        ("NODE_FAIL", JobEnd.node_failed),
        ("BOOT_FAIL", JobEnd.node_failed),
        ("OUT_OF_MEMORY", JobEnd.out_of_memory),
    ],
)
def test_accounting_says_how_a_job_ended(said, end):
    assert queue.parse_listing(f"7|{said}\n")["7"].end is end


def test_a_word_that_is_new_to_us_ends_nothing():
    assert queue.parse_listing("7|POWERING_DOWN|None|\n")["7"].phase is JobPhase.unknown


@pytest.mark.parametrize(
    ("span", "seconds"),
    [("0:05", 5), ("31:00", 1860), ("1:00:00", 3600), ("2-01:00:00", 176400), ("UNLIMITED", math.inf)],
)
def test_spans_of_time(span, seconds):
    assert queue.parse_span(span) == seconds


@pytest.mark.parametrize(
    ("said", "away"),
    [
        ("Batch job submission failed: Unable to contact slurm controller (connect failure)", True),
        ("Batch job submission failed: Socket timed out on send/recv operation", True),
        ("Batch job submission failed: Invalid partition name specified", False),
        ("Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)", False),
    ],
)
def test_nobody_at_home_is_told_from_a_refusal(said, away):
    assert queue.is_controller_away(said) is away


def test_an_option_of_sbatch_that_is_false_is_left_out_and_a_true_one_is_a_flag():
    """submitit would write --exclusive=False."""
    extra = {"exclusive": "false", "nice": "null", "contiguous": "true", "begin": "16:00"}
    run = check_run(run_config(hardware={"slurm": {"extra": extra, "time_min": "1:30:00"}}))
    (session,) = plan([(run, "fake")])
    asked = slurm.parameters(Submission(session, Path("x/session.json"), resources(session)))
    assert asked["additional_parameters"] == {"requeue": True, "contiguous": True, "begin": "16:00"}
    assert asked["time"] == 90


@pytest.fixture
def commands(monkeypatch, tmp_path):
    """A folder with the commands of SLURM, the only ones of this host."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for program in slurm.PROGRAMS:
        (tmp_path / program).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / program).chmod(0o755)
    return tmp_path


def test_only_a_job_that_slurm_has_numbered_can_be_stopped_by_a_pasted_line(commands):
    jobs = slurm.Slurm()
    assert jobs.describe_stop("123_4") == "scancel 123_4"
    assert jobs.describe_stop(queue.provisional_id("vbench 1", 0)) == ""


def test_a_host_without_slurm_is_told_so_before_anything_starts(commands):
    (commands / "sbatch").unlink()
    with pytest.raises(Refused, match=r"hydra/launcher=slurm: sbatch: not found on this host"):
        backend("slurm")


def test_a_site_without_sacct_knows_less_of_jobs_that_have_left_the_queue(commands):
    (commands / "squeue").write_text("#!/bin/sh\necho '8|RUNNING|None|h100n0'\n")
    assert queue.states(["7", "8"]) == {"7": queue.GONE, "8": JobState(JobPhase.running, detail="h100n0")}


@pytest.mark.parametrize("name", ["50%load", "back\\slash", "two\nlines"])
def test_a_folder_whose_name_slurm_would_change_is_refused(commands, name):
    run = check_run(run_config())
    (session,) = plan([(run, "fake")])
    submission = Submission(session, commands / name / "grid" / session.folder / "session.json", resources(session))
    with pytest.raises(Refused, match=r"SLURM reads .* in a path as a pattern"):
        slurm.Slurm().submit([submission])


@pytest.mark.parametrize(
    ("says", "limit"),
    [("MaxArraySize            = 0\nMaxJobCount = 9\n", 0), ("MaxArraySize            = 4\n", 4), ("", 1001)],
)
def test_a_site_tells_how_many_jobs_an_array_may_have(commands, says, limit):
    (commands / "scontrol").write_text(f"#!/bin/sh\nprintf '%s' '{says}'\n")
    (commands / "scontrol").chmod(0o755)
    assert queue.read_array_limit() == limit


@pytest.mark.parametrize(("most", "sizes"), [(0, [1, 1, 1]), (2, [2, 1]), (3, [3])])
@pytest.mark.parametrize("max_parallel", [None, 2])
def test_no_array_is_larger_than_the_site_allows_and_max_parallel_holds(most, sizes, max_parallel):
    batch = [
        Submission(session, Path(f"x/{session.folder}/session.json"), resources(session))
        for session in plan(
            (check_run(run_config(engine={"max_num_seqs": seqs}, launcher={"max_parallel": max_parallel})), "fake")
            for seqs in (8, 16, 32)
        )
    ]
    found = list(slurm.submissions(batch, most))
    if max_parallel is None:
        assert [len(members) for members, _ in found] == sizes
    elif len(sizes) == 1:
        assert [(len(members), asked["array_parallelism"]) for members, asked in found] == [(3, 2)]
    else:  # several arrays cannot hold a limit together: jobs of one name wait for each other
        assert [(len(members), asked["dependency"]) for members, asked in found] == [(1, "singleton")] * 3
        assert len({asked["job_name"] for _, asked in found}) == 2
