"""The sweeps that a newcomer types first, through the front door: each is one right curve wherever it is shown."""

import re

import fake_vllm
import pandas as pd
import pytest
from doors import vbench
from PIL import Image

TICK_S = 0.1  # of the server: no client lags by half of it, so runs are VALID however busy the host is
ATTEMPTS = 4  # to measure again what was INVALID
LOAD = ("engine=openai", "workload=random", "workload.input_len=20", "workload.output_len=2")

SWEEPS = {
    "concurrency": ("workload.num_prompts=32", "workload.max_concurrency=8,16,32"),
    "rate": ("workload.num_prompts=3", "workload.request_rate=1,2,4"),
    "both": ("workload.num_prompts=4,8", "workload.max_concurrency=2,4"),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """All three against one server; the reports of all three."""
    folder = tmp_path_factory.mktemp("sweeps")
    with fake_vllm.running("--itl-s", str(TICK_S)) as url:
        for name, words in SWEEPS.items():
            command = ("-m", f"engine.base_url={url}", f"experiment={name}", *LOAD, *words)
            ended = vbench(*command, cwd=folder)
            for _ in range(ATTEMPTS):  # a busy host makes a client late, and says so
                if ended.returncode == 1:
                    ended = vbench(*command, "rerun=invalid", cwd=folder)
            assert ended.returncode == 0, ended.stdout + ended.stderr
    return folder


@pytest.fixture(scope="module")
def told(home):
    """What the terminal shows of each."""
    ended = {name: vbench(f"experiment={name}", cwd=home, module="vbench.analysis") for name in SWEEPS}
    assert {each.returncode for each in ended.values()} == {0}
    return {name: each.stdout for name, each in ended.items()}


@pytest.mark.parametrize(
    ("name", "load", "values", "words", "curves"),
    [
        ("concurrency", "max_concurrency", [8, 16, 32], ["8 at once", "16 at once", "32 at once"], 1),
        ("rate", "request_rate", [1, 2, 4], ["1 req/s", "2 req/s", "4 req/s"], 1),
        ("both", "max_concurrency", [2, 4], ["2 at once", "4 at once"], 2),
    ],
)
def test_a_sweep_is_one_curve_in_terminal_page_and_figure(home, told, name, load, values, words, curves):
    why = "its largest load" if curves == 1 else "the largest load that all systems share"
    assert f"at {load}={values[-1]} ({why})" in told[name]
    folder = home / "report" / name
    (table,) = folder.glob("curves-*.csv")
    points = pd.read_csv(table)
    assert {tuple(rows[load]) for _, rows in points.groupby("series")} == {tuple(values)}
    assert points["series"].nunique() == curves
    rising = points.sort_values(load)["output_throughput"].groupby(points["series"]).apply(list)
    assert all(rates == sorted(rates) for rates in rising)  # more at once, or more a second, is more
    page = (folder / "report.html").read_text()
    assert re.findall(rf'"at":"{load}=(\d+)"', page) == [str(value) for value in values] * curves
    svg = table.with_suffix(".svg").read_text()
    written = [text for text in words if f"<!-- {text} -->" in svg or f"<!-- {text.split(' ')[0]} -->" in svg]
    assert written == words
    with Image.open(table.with_suffix(".png")) as picture:
        assert picture.size[0] == 1290
