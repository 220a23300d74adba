"""A fixed part of the walk over all points where a process may die or the disk may fail: benchmarks/crash_walk.py.

All of it takes tens of minutes. A part is chosen by the checksum of the points' names, so it holds points of every
kind; this one has as many kills as I/O errors.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler here: apt-get install gcc libc6-dev")
def test_whatever_process_dies_or_call_fails_no_point_is_lost_or_double_and_nothing_is_left():
    command = [sys.executable, ROOT / "benchmarks" / "crash_walk.py", "--every", "60", "--part", "22"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "0 lost, 0 double, 0 orphans, 0 files left, 0 other faults" in ended.stdout
    kills, errors = map(int, re.search(r"(\d+) kills and (\d+) I/O errors", ended.stdout).groups())
    assert kills >= 5
    assert errors >= 4
