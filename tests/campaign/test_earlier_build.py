"""A campaign that an earlier build began is finished by this one: it reads its files, and queued jobs find their code.

earlier/ holds what the build before the packages left of a campaign whose driver and job were killed after the first of
three points: job.json, session.json, events.jsonl and one record.json.
"""

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from doors import FAKE, run_folders, vbench

from vbench.campaign.jobfile import JobFile
from vbench.campaign.jobs import batch
from vbench.schema.record import Record
from vbench.session import sessionfile
from vbench.watch import EventReader
from vbench.watch.board import SessionProgress

NAME = "tiny-cpu-tp1-c4005cdd"
EARLIER = Path(__file__).parent / "earlier" / NAME
SAME_COMMAND = (
    "-m", "workload.num_prompts=2,3,4", "workload=random", "workload.input_len=8", "workload.output_len=20",
    "engine.command=[python,server.py,--itl-s,0.04]",
)  # fmt: skip


def test_the_same_command_measures_what_an_earlier_build_left_and_no_more(tmp_path):
    session = shutil.copytree(EARLIER, tmp_path / "multirun" / "default" / NAME)
    shutil.copy(FAKE, tmp_path / "server.py")
    measured = (session / "n2-7f237b91" / "record.json").read_bytes()
    ended = vbench(*SAME_COMMAND, cwd=tmp_path)
    assert "1 of 3 points already recorded" in ended.stdout, ended.stderr
    assert "starting 1 server for 2 points" in ended.stdout
    records = [Record.load(folder) for folder in run_folders(tmp_path)]
    assert sorted(record.config["workload"]["num_prompts"] for record in records) == [2, 3, 4]
    assert (session / "n2-7f237b91" / "record.json").read_bytes() == measured
    assert {record.session for record in records} == {NAME}
    assert not (session / "job.json").exists()


def test_the_files_of_an_earlier_build_say_what_they_said():
    job = JobFile.read(EARLIER)
    assert job.name == "local job 22492"
    session = sessionfile.read(EARLIER / "session.json")
    record = Record.load(EARLIER / "n2-7f237b91")
    assert record.run_key == session.runs[0].key
    progress = SessionProgress(session)
    for event in EventReader(EARLIER).read():
        progress.update(event)
    assert progress.verdicts == {record.run_key: "VALID"}


# A job in SLURM's queue is a pickle that names a function; the code on disk may be replaced before it starts.
@pytest.mark.parametrize("reference", [b"cvbench.jobs.batch\njob\n.", b"cvbench.campaign.jobs.batch\njob\n."])
def test_a_job_that_an_earlier_build_queued_finds_its_function(reference):
    code = f"import pickle; found = pickle.loads({reference!r}); print(found.__module__, found.__qualname__)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.stdout.split() == ["vbench.campaign.jobs.batch", "job"], found.stderr


def test_jobs_that_this_build_queues_are_pickled_under_a_name_that_the_next_build_keeps():
    assert b"vbench.campaign.jobs.batch" in pickle.dumps(batch.job)


@pytest.mark.parametrize("kept", ["launcher", "rerun", "id", "submitted_at", "host"])
def test_job_json_keeps_its_keys(kept, tmp_path):
    JobFile("slurm", "none", "7", "2026-11-27T11:48:21+00:00", "login1").write(tmp_path)
    assert kept in json.loads((tmp_path / "job.json").read_text())
