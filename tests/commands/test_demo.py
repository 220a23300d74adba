"""What `make demo` does and says after its campaign, with a stand-in for the campaign and the analysis."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = """#!/bin/sh
echo "$*" >> calls
case "$*" in
*vbench.analysis*) grep -q VALIDATED outcome && echo "$*/curves-tiny.png"; exit 0;;
esac
mkdir -p multirun/smoke/session
cat outcome > multirun/smoke/session/events.jsonl
exit $(cat status)
"""
VALID, INVALID = (
    '{"event": "recorded", "verdict": "VALID"} VALIDATED\n',
    '{"event": "recorded", "verdict": "INVALID"}\n',
)


def demo(folder: Path, outcome: str, status: int) -> tuple[str, list[str]]:
    """What it prints, and the commands of the campaign."""
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "conf" / "engine").mkdir(parents=True)
    made = {"pyproject.toml": "", "conf/engine/vllm-cpu.txt": "", "outcome": outcome, "status": str(status)}
    for name, text in made.items():
        (folder / name).write_text(text)
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(STAND_IN)
    python.chmod(0o755)
    (folder / ".venv" / "engine-cpu").touch()
    env = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    ended = subprocess.run(
        ["make", "demo", "ENGINE=cpu"], cwd=folder, env=env, text=True, capture_output=True, check=True
    )
    return ended.stdout, [call for call in (folder / "calls").read_text().splitlines() if "+campaign" in call]


@pytest.mark.parametrize(
    ("outcome", "status", "times"),
    [(VALID * 4, 0, 1), (VALID * 3 + INVALID, 1, 2), (INVALID * 4, 1, 1), (VALID, 2, 1)],
    ids=["all valid", "some invalid", "all invalid", "refused"],
)
def test_the_demo_measures_again_only_where_some_points_were_valid(tmp_path, outcome, status, times):
    said, campaigns = demo(tmp_path, outcome, status)
    assert campaigns == ["-m vbench -m +campaign=smoke rerun=invalid"] * times
    assert ("not every point is VALID: do what the lines above say, then:  make demo" in said) is (status != 0)


def test_the_demo_sends_nobody_to_a_report_or_a_search_without_a_valid_point(tmp_path):
    said, _ = demo(tmp_path, INVALID * 4, 1)
    assert "no figure: too few points are VALID" in said
    assert "report.html" not in said
    assert "slo_search" not in said


def test_the_demo_names_its_report_where_there_are_points(tmp_path):
    said, _ = demo(tmp_path, VALID * 3 + INVALID, 1)
    assert "open report/smoke/report.html" in said
    assert "no figure" not in said
