"""Files below multirun/ that are cut, foreign or of another version are named and passed over; the campaign goes on."""

import json
import shlex
import shutil
import subprocess
import sys

import pytest
from doors import fake, furnish, host, run_folders, vbench

from vbench.schema.record import Record, find_record, record_flaw
from vbench.watch import Event, EventReader

ODD = "experiment='a [b]'"  # quoted for Hydra
POINTS = ("-m", "workload.num_prompts=2,3", "workload=random", "workload.output_len=5", fake("--itl-s", "0.05"))


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    home = tmp_path_factory.mktemp("measured")
    ended = vbench(*POINTS, ODD, cwd=home)
    assert "starting" in ended.stdout, ended.stderr
    return home, ended.stdout


def test_the_command_that_is_printed_for_an_odd_name_is_quoted_for_a_shell(measured):
    line = next(line for line in measured[1].splitlines() if line.startswith("records:"))
    assert line.startswith("records: multirun/a [b] ")
    command = shlex.split(line.partition("compare: ")[2])
    assert command[-4:] == ["-m", "vbench", "analyze", "experiment=a [b]"]
    told = subprocess.run([*command, "figures=[]"], cwd=measured[0], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr


def test_a_campaign_goes_on_beside_files_that_it_cannot_read(measured):
    home, _ = measured
    first, second = (folder / "record.json" for folder in run_folders(home))
    (session,) = home.glob("multirun/*/*/session.json")
    whole = second.read_bytes()
    shutil.rmtree(home / "mlruns")  # which has both records, and would do
    first.write_text('{"run_key": "of another version"')
    (session.parent / "job.json").write_text('{"pid": 7}')
    (session.parent / "events.jsonl").write_text('{"t": 1, "event": "tick"}\nnot an event\n')
    (session.parent / "turn.json").write_text("{")
    ended = vbench(*POINTS, ODD, cwd=home)
    assert ended.returncode in (0, 1), ended.stderr
    assert "Traceback" not in ended.stderr
    assert "1 of 2 points already recorded" in ended.stdout
    assert f"{first.relative_to(home)}: not a record of this version (JSONDecodeError" in ended.stdout
    assert f"{session.parent.relative_to(home)}/job.json: ignored" in ended.stdout
    assert Record.load(first.parent).verdict in ("VALID", "INVALID")
    aside = first.parents[1].glob(f"{first.parent.name}.*/record.json")
    assert [path for path in aside if path.read_text().startswith('{"run_key": "of another version"')]
    assert second.read_bytes() == whole


@pytest.mark.parametrize("text", ["", "[]", "7", "{", '{"verdict": "VALID"}', "\x00", '{"config": []}'])
def test_a_file_that_is_no_record_is_none_and_says_why(tmp_path, text):
    (tmp_path / "record.json").write_text(text)
    assert find_record(tmp_path) is None
    assert record_flaw(tmp_path)


@pytest.mark.parametrize("change", [{"config": "x"}, {"config": {}}, {"metrics": None}, {"later": 1}, {"failure": 3}])
def test_a_record_of_another_shape_is_none_and_says_why(measured, tmp_path, change):
    path = next(path for path in measured[0].glob("multirun/*/*/*/record.json") if not record_flaw(path.parent))
    (tmp_path / "record.json").write_text(json.dumps(json.loads(path.read_text()) | change))
    assert find_record(tmp_path) is None
    assert record_flaw(tmp_path)


@pytest.mark.parametrize(
    "line",
    ["", "null", "[]", "{", '{"t": "x", "event": "ended"}', '{"t": 1, "event": "recorded", "run": "k"}', "\xff",
     '{"t": 1, "event": "tick", "run": "k", "replies": "2", "tokens": 3}', '{"t": 1, "event": []}'],
)  # fmt: skip
def test_a_line_that_is_no_event_is_passed_over_by_name_and_the_next_is_read(tmp_path, line):
    whole = Event(1.0, "ended", {"how": "completed"})
    (tmp_path / "events.jsonl").write_bytes(line.encode("latin-1") + b"\n" + whole.to_line())
    unreadable, read = EventReader(tmp_path).read()
    assert unreadable.kind == "unreadable"
    assert read == whole


def test_a_reader_that_goes_away_ends_the_command_quietly(tmp_path):
    furnish(tmp_path)
    for lines in (1, 0):  # the second finds all of it known, and would be filing: it may have ended after a line
        command = [sys.executable, "-m", "vbench", *POINTS]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, cwd=tmp_path, env=host(tmp_path), **pipes) as process:
            for _ in range(lines):
                assert process.stdout.readline()
            process.stdout.close()
            assert process.stderr.read() == ""
        assert process.returncode == 1
