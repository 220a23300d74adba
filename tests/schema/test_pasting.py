"""The commands that vbench prints can be pasted where it was started."""

import sys

import pytest

from vbench.schema.pasting import say_command

HERE = sys.executable


@pytest.mark.parametrize(
    ("argv", "orig", "on_path", "said"),
    [
        (["/opt/v/bin/vbench"], ["/opt/v/bin/python3", "/opt/v/bin/vbench"], {"vbench": "/opt/v/bin/vbench"}, "vbench"),
        ([".venv/bin/vbench"], [".venv/bin/python", ".venv/bin/vbench"], {}, ".venv/bin/vbench"),
        (["/src/vbench/__main__.py"], ["python", "-m", "vbench"], {"python": HERE}, "python -m vbench"),
        (["/src/vbench/__main__.py"], [".venv/bin/python", "-m", "vbench"], {}, ".venv/bin/python -m vbench"),
        (
            ["/src/vbench/ingest.py"],
            [".venv/bin/python", "-m", "vbench.ingest", "multirun"],
            {"python": "/usr/bin/python"},
            ".venv/bin/python -m vbench",
        ),
    ],
    ids=["installed", "not on the path", "activated", "no python on the path", "another python on the path"],
)
def test_a_printed_command_begins_as_vbench_was_started(monkeypatch, argv, orig, on_path, said):
    monkeypatch.setattr("sys.argv", argv)
    monkeypatch.setattr("sys.orig_argv", orig)
    monkeypatch.setattr("shutil.which", on_path.get)
    assert say_command("analyze", "experiment=a b") == f"{said} analyze 'experiment=a b'"
