"""What a driver sees of a job on another node through a network file system: old, cut and replaced files, other clocks.

Close-to-open caching is emulated by the files themselves: for a while the reader gets what an earlier version held.
"""

import errno
import os
from pathlib import Path

import pytest
from rich.console import Console
from test_board import session

from vbench.campaign.jobfile import JOB, JobFile
from vbench.schema import Rerun
from vbench.schema.record import read_text
from vbench.watch import EVENTS, Event, EventReader
from vbench.watch.screen import Screen

LINES = [Event(100.0 + place, "waiting", {"wanted": f"{place} GPUs"}).to_line() for place in range(5)]


def wanted(events):
    return [event.facts.get("wanted", event.kind) for event in events]


@pytest.mark.parametrize("cut", [0, 1, 30, len(LINES[0]), len(LINES[0]) + 7])
def test_every_event_is_read_once_though_an_older_and_shorter_file_is_seen_meanwhile(tmp_path, cut):
    path, reader = tmp_path / EVENTS, EventReader(tmp_path)
    path.write_bytes(b"".join(LINES[:2]))
    seen = wanted(reader.read())
    path.write_bytes(b"".join(LINES[:2])[:cut])
    seen += wanted(reader.read())
    path.write_bytes(b"".join(LINES[:3]) + LINES[3][:-5])
    seen += wanted(reader.read())
    path.write_bytes(b"".join(LINES))
    assert seen + wanted(reader.read()) == [f"{place} GPUs" for place in range(5)]


def test_the_events_of_the_next_job_are_read_from_their_start(tmp_path):
    reader = EventReader(tmp_path)
    (tmp_path / EVENTS).write_bytes(LINES[0] + LINES[1])
    assert len(reader.read()) == 2
    (tmp_path / EVENTS).write_bytes(LINES[2] + LINES[3] + LINES[4])
    assert wanted(reader.read()) == ["2 GPUs", "3 GPUs", "4 GPUs"]


@pytest.fixture
def stale(monkeypatch):
    """The first reads of a file say that it was replaced on another node; returns how many did."""
    said, opened = [], Path.open

    def emulated(path, mode="r", *words, **options):
        if path.name in (EVENTS, JOB) and mode.startswith("r") and len(said) < 2:
            said.append(path)
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return opened(path, mode, *words, **options)

    monkeypatch.setattr(Path, "open", emulated)
    return said


def test_a_file_that_another_node_replaces_while_it_is_read_is_opened_again(tmp_path, stale):
    written = JobFile.create("slurm", Rerun.none, "7").write(tmp_path)
    assert JobFile.read(tmp_path) == written
    assert len(stale) == 2


def test_a_file_that_stays_stale_is_not_read_for_ever(tmp_path, monkeypatch):
    def always(path, *_, **__):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(Path, "open", always)
    with pytest.raises(OSError, match="Stale file handle"):
        read_text(tmp_path / JOB)


def test_events_that_are_replaced_while_they_are_read_come_with_the_next_look(tmp_path, stale):
    (tmp_path / EVENTS).write_bytes(LINES[0])
    reader = EventReader(tmp_path)
    assert reader.read() == reader.read() == []
    assert wanted(reader.read()) == ["0 GPUs"]


@pytest.mark.parametrize("ahead_s", [-30.0, 0.0, 30.0])
def test_a_job_whose_clock_differs_is_shown_without_negative_times(tmp_path, monkeypatch, ahead_s):
    monkeypatch.setattr("time.time", lambda: 1000.0)
    screen, planned = Screen({tmp_path: session(2, 4)}), session(2, 4)
    progress = screen.progress_of(tmp_path)
    told = {"run": planned.runs[0].key, "name": "n2", "replies": 2}
    progress.update(Event(1000.0 + ahead_s, "measuring", told))
    progress.update(Event(1000.5 + ahead_s, "tick", {"run": planned.runs[0].key, "replies": 1, "tokens": 10}))
    console = Console(width=160)
    with console.capture() as shown:
        console.print(screen._status_table())
    assert f"measuring {30 if ahead_s < 0 else 0} s" in shown.get()
    assert "-" not in shown.get().replace("tiny-", "")
